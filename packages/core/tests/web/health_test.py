"""Hazards: a process killed because a store is unavailable, traffic to a draining process, a probe that hangs."""

import asyncio

import httpx
import pytest

from cell_monitor_core.web.health import Health, create_health_app


class Store:
    def __init__(self):
        self.fault = None
        self.calls = 0

    async def ping(self):
        self.calls += 1
        if self.fault is not None:
            raise self.fault
        await asyncio.sleep(0)


@pytest.fixture
def store():
    return Store()


async def get(health, path):
    transport = httpx.ASGITransport(create_health_app(health))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path)


async def test_unavailable_store_makes_not_ready_but_live(store):
    health = Health({"redis": store.ping}, keep=0)
    assert (await get(health, "/readyz")).status_code == 200
    store.fault = ConnectionError("redis://user:hunter2@host is unavailable")
    answer = await get(health, "/readyz")
    assert answer.status_code == 503
    assert answer.text == "unavailable\nredis: ConnectionError"
    assert (await get(health, "/livez")).status_code == 200
    store.fault = None
    assert (await get(health, "/readyz")).text == "ok\nredis: ok"


async def test_a_store_that_the_process_works_on_without_is_reported_and_takes_it_out_of_no_service(store):
    health = Health({"redis": Store().ping}, advisory={"postgresql": store.ping}, keep=0)
    assert (await get(health, "/readyz")).text == "ok\nredis: ok\npostgresql: ok"
    store.fault = ConnectionError("postgresql://user:hunter2@host is read-only")
    answer = await get(health, "/readyz")
    assert (answer.status_code, answer.text) == (200, "ok\nredis: ok\npostgresql: ConnectionError")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_a_probe_by_head_is_answered_as_by_get(store, path):
    health = Health({"redis": store.ping}, keep=0)
    transport = httpx.ASGITransport(create_health_app(health))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.head(path)).status_code == 200
        store.fault = ConnectionError()
        assert (await client.head(path)).status_code == (503 if path == "/readyz" else 200)


async def test_draining_process_is_not_ready(store):
    health = Health({"redis": store.ping})
    health.drain()
    answer = await get(health, "/readyz")
    assert (answer.status_code, answer.text.splitlines()[0]) == (503, "draining")


async def test_hanging_check_times_out():
    health = Health({"database": asyncio.Event().wait}, timeout=0.02)
    assert (await get(health, "/readyz")).text == "unavailable\ndatabase: timeout"


async def test_results_of_checks_are_cached(store):
    health = Health({"redis": store.ping}, keep=60)
    await asyncio.gather(*(get(health, "/readyz") for _ in range(10)))
    assert store.calls == 1


async def test_metrics_are_served_in_prometheus_text(store):
    answer = await get(Health(), "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "# TYPE cell_monitor_event_loop_lag_seconds histogram" in answer.text
