"""Hazard: who ends TLS for a store accepts connections while the store is down, and that is not taken for an outage."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from cell_monitor_testing.foreign_site import Site, running, until
from cell_monitor_testing.installed_programs import running_stunnel

pytestmark = [pytest.mark.stores, pytest.mark.timeout(240)]


async def state(service: str) -> tuple[int, str]:
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        answer = await client.get(f"{service}/readyz")
        return answer.status_code, answer.text


async def until_ready(site: Site, *, api: int, others: int) -> None:
    """Wait until all services say what they must while a store is down, or again when it is up."""

    async def said() -> bool:
        codes = [(await state(service.url))[0] for service in site.services]
        return codes == [api, others, others if site.redis.process.pid is None or others == 200 else 200]

    await until(said, "the services' readiness")


async def test_a_server_that_is_down_behind_an_end_of_tls_that_is_up_is_waited_for(plain_stores: Site) -> None:
    site = plain_stores
    with (
        running_stunnel(site.folder, site.redis.port) as redis,
        running_stunnel(site.folder, site.postgresql.port, protocol="pgsql") as postgresql,
    ):
        site.redis_port, site.postgresql_port = redis.port, postgresql.port
        site.describe(redis, postgresql)
        with running(site):
            async with httpx.AsyncClient(base_url=site.api.url, timeout=60, trust_env=False) as client:
                classroom = await site.classroom(students=4, events=400)
                gateway = site.gateway.url.replace("http", "ws") + "/ws"
                async with classroom.dashboard(client, gateway) as live:
                    await asyncio.to_thread(site.redis.stop)
                    await until_ready(site, api=503, others=503)
                    sending = asyncio.create_task(classroom.send(client))
                    site.redis.process.start()
                    await asyncio.to_thread(site.redis.wait_ready)
                    await site.wait_ready()
                    await asyncio.to_thread(site.postgresql.stop)
                    await until_ready(site, api=200, others=503)
                    assert "postgresql" in (await state(site.api.url))[1]
                    await sending
                    site.postgresql.process.start()
                    await asyncio.to_thread(site.postgresql.wait_ready)
                    await site.wait_ready()
                    await classroom.assert_arrived_once(live)
            # They end while neither store is there.
            for server in (site.redis, site.postgresql):
                await asyncio.to_thread(server.stop)
            await until_ready(site, api=503, others=503)
            assert [await service.stop(timeout=40) for service in site.services] == [0, 0, 0]
