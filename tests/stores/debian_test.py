"""Hazard: on the stores of a common system, with TLS and the rights of a managed service, something does not work."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from cell_monitor_testing.foreign_site import Site, running, until

pytestmark = [pytest.mark.stores, pytest.mark.timeout(180)]


@pytest.mark.parametrize("user", ["documented", "managed"])
async def test_a_lesson_during_which_both_stores_are_restarted(stores: Site, user: str) -> None:
    stores.redis_user = user
    stores.describe()
    with running(stores):
        await _lesson(stores)


async def _lesson(stores: Site) -> None:
    async with httpx.AsyncClient(base_url=stores.api.url, timeout=60, trust_env=False) as client:
        classroom = await stores.classroom(students=6, events=900)
        gateway = stores.gateway.url.replace("http", "ws") + "/ws"
        async with classroom.dashboard(client, gateway) as live:
            sending = asyncio.create_task(classroom.send(client, batch=5))
            for server in (stores.redis, stores.postgresql):
                before = live.publications

                async def goes_on(before: int = before) -> bool:
                    return live.publications > before or sending.done()

                await until(goes_on, "events arrive on the screen")
                await asyncio.to_thread(server.stop)
                server.process.start()
                await asyncio.to_thread(server.wait_ready)
            await sending
            await classroom.assert_arrived_once(live)
        await stores.wait_ready()
