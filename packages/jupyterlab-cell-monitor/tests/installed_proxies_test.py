"""Hazard: a real proxy before the monitor answers a page of its own, and the student's server deletes what it holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from cell_monitor.embedded.process import free_port
from cell_monitor_testing.installed_programs import InstalledServer, running_haproxy, running_nginx
from jupyterlab_cell_monitor.ingest_body import read_batch

pytestmark = [pytest.mark.stores, pytest.mark.timeout(120)]

TIMES = "timeout client 10s\n timeout server 10s\n timeout connect 5s"


def nginx(folder: Path, port: int, rule: str) -> AbstractContextManager[InstalledServer]:
    server = f"server {{ listen 127.0.0.1:{port}; {rule} }}"
    return running_nginx(folder, f"default_type text/html; {server}", port=port, replaced={})


def haproxy(folder: Path, port: int, rule: str) -> AbstractContextManager[InstalledServer]:
    sections = f"listen monitor\n mode http\n bind 127.0.0.1:{port}\n {TIMES}\n {rule}"
    return running_haproxy(folder, sections, port=port, replaced={})


def passing(proxy: Any, api: Any, more: str = "") -> str:
    if proxy is nginx:
        return f"{more} location / {{ proxy_pass {api.url}; }}"
    return f"{more}\n server api {api.url.removeprefix('http://')}"


def page(proxy: Any, status: int) -> str:
    text = "<html>Please sign in</html>"
    # nginx writes its own page where none is given.
    if proxy is nginx:
        return (
            f"location / {{ return {status} '{text}'; }}"
            if status in {200, 422}
            else f"location / {{ return {status}; }}"
        )
    if status in {200, 422}:
        return f'http-request return status {status} content-type text/html string "{text}"'
    return f"http-request deny deny_status {status}"


Proxy = Callable[[Path, int, str], AbstractContextManager[InstalledServer]]


async def submit(forwarder: Any, events: list[dict[str, Any]]) -> list[str]:
    answer = await forwarder.submit(read_batch(json.dumps({"events": events}).encode()), traceparent=None)
    return [result["status"] for result in answer.body["results"]]


@pytest.mark.parametrize("proxy", [nginx, haproxy])
async def test_a_page_of_the_proxy_costs_no_event(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any, server_folder: Path, proxy: Proxy
) -> None:
    port = free_port()
    events = []
    async with open_forwarder(url=f"http://127.0.0.1:{port}") as forwarder:
        for status in (200, 400, 403, 404, 413, 422, 500, 502, 503):
            with proxy(server_folder, port, page(proxy, status)):
                events.append(make_event())
                assert await submit(forwarder, [events[-1]]) == ["accepted"]
                assert forwarder.status()["state"] in {"unavailable", "misconfigured"}
            with proxy(server_folder, port, passing(proxy, api)):
                await eventually(lambda: set(api.stored) == {event["event_id"] for event in events})
                await eventually(lambda: forwarder.status()["state"] == "ok", forwarder.status)
        # The proxy is up, and what is behind it is not.
        with proxy(server_folder, port, passing(proxy, api)):
            api.stop()
            events.append(make_event())
            assert await submit(forwarder, [events[-1]]) == ["accepted"]
            assert forwarder.status()["spooled_events"] == 1
            api.start()
            await eventually(lambda: forwarder.status()["state"] == "ok", forwarder.status)
        assert forwarder.status()["dropped_events"] == 0
    assert api.order == [event["event_id"] for event in events]


@pytest.mark.parametrize("proxy", [nginx, haproxy])
async def test_what_is_larger_than_the_proxy_takes_is_sent_in_smaller_requests(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any, server_folder: Path, proxy: Proxy
) -> None:
    port = free_port()
    limit = "client_max_body_size 16k;"
    if proxy is haproxy:
        limit = "http-request deny deny_status 413 if { req.hdr_val(content-length) gt 16384 }"
    events = [make_event() for _ in range(199)]
    giant = make_event(padding="x" * 30_000)
    async with open_forwarder(url=f"http://127.0.0.1:{port}") as forwarder:
        with proxy(server_folder, port, passing(proxy, api, limit)):
            assert set(await submit(forwarder, [*events[:100], giant, *events[100:]])) == {"accepted"}
            await eventually(lambda: len(api.stored) == 199, lambda: len(api.stored), within=60)
            await eventually(lambda: forwarder.status()["state"] == "misconfigured", forwarder.status)
            await eventually(lambda: forwarder.status()["spooled_events"] == 1, forwarder.status)
        with proxy(server_folder, port, passing(proxy, api)):
            await eventually(lambda: giant["event_id"] in api.stored, forwarder.status)
            await eventually(lambda: forwarder.status()["state"] == "ok", forwarder.status)
        assert forwarder.status()["dropped_events"] == 0
