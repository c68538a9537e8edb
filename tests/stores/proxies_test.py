"""Hazard: behind a documented proxy events are lost, a page stays dead, or a connection is cut while nothing happens."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from cell_monitor.embedded.process import free_port
from cell_monitor_testing.foreign_site import Site, running, until
from cell_monitor_testing.installed_programs import InstalledServer, running_haproxy, running_nginx

pytestmark = [pytest.mark.stores, pytest.mark.timeout(180)]

PAGE = (Path(__file__).parents[2] / "docs/operations/network.md").read_text("utf-8")


def recipe(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    return str(found)


def nginx(site: Site, port: int, changes: dict[str, str]) -> AbstractContextManager[InstalledServer]:
    places = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/monitor.pem": "{certificate}",
        "/etc/ssl/monitor.key": "{key}",
    }
    return running_nginx(site.folder, recipe("nginx"), port=port, replaced=places | services(site) | changes)


def haproxy(site: Site, port: int, changes: dict[str, str]) -> AbstractContextManager[InstalledServer]:
    places = {"bind :443 ssl crt /etc/ssl/monitor-and-key.pem": f"bind 127.0.0.1:{port} ssl crt {{both}}"}
    return running_haproxy(site.folder, recipe("haproxy"), port=port, replaced=places | services(site) | changes)


def services(site: Site) -> dict[str, str]:
    return {
        "127.0.0.1:8900": site.api.url.removeprefix("http://"),
        "127.0.0.1:8901": site.gateway.url.removeprefix("http://"),
    }


# What is idle for longer than this is cut; the gateway pings more often.
TIME_OUTS = {
    nginx: {"proxy_read_timeout 120s": "proxy_read_timeout 2s"},
    haproxy: {"timeout tunnel 120s": "timeout tunnel 2s", "timeout client 60s": "timeout client 2s"},
}


@dataclass
class Outside:
    """The services as they are seen through a proxy."""

    site: Site
    proxy: InstalledServer

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.proxy.certificate.certificate))

    @property
    def gateway(self) -> str:
        return f"wss://127.0.0.1:{self.proxy.port}/ws"

    def client(self) -> httpx.AsyncClient:
        url = f"https://127.0.0.1:{self.proxy.port}"
        return httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, verify=self.tls)


@pytest.fixture(scope="module", params=[nginx, haproxy], ids=["nginx", "haproxy"])
def outside(request: pytest.FixtureRequest, stores: Site) -> Iterator[Outside]:
    """The services behind a proxy with its documented configuration, and short time-outs."""
    port = free_port()
    stores.settings = {
        "API_FORWARDED_ALLOW_IPS": "127.0.0.1",
        "PUBLIC_URL": f"https://127.0.0.1:{port}",
        "GATEWAY_PING_INTERVAL_S": "1",
    }
    stores.describe()
    with request.param(stores, port, TIME_OUTS[request.param]) as proxy, running(stores):
        yield Outside(stores, proxy)


async def restart(server: InstalledServer) -> None:
    server.process.kill()
    server.process.start()
    await asyncio.to_thread(server.wait_ready)


async def test_a_lesson_during_which_the_proxy_and_what_is_behind_it_are_restarted(outside: Outside) -> None:
    site = outside.site
    async with outside.client() as client:
        classroom = await site.classroom(students=6, events=900)
        async with classroom.dashboard(client, outside.gateway, outside.tls) as live:
            sending = asyncio.create_task(classroom.send(client, batch=5))

            async def goes_on(*, after: int) -> None:
                async def further() -> bool:
                    return live.publications > after or sending.done()

                await until(further, "events arrive on the screen")

            await goes_on(after=0)
            await restart(outside.proxy)
            await goes_on(after=live.publications)
            for service in (site.api, site.gateway):
                before = live.publications
                await service.stop()
                service.launch()
                await service.wait_ready()
                await goes_on(after=before)
            await sending
            await classroom.assert_arrived_once(live)
            assert live.reconnects >= 2


async def test_a_connection_on_which_nothing_happens_outlives_the_proxys_time_out(outside: Outside) -> None:
    async with outside.client() as client:
        classroom = await outside.site.classroom(students=1, events=1)
        token = await classroom.sign_in(client)
    protocols = [Subprotocol("cell-monitor.v1")]
    async with connect(
        outside.gateway, ssl=outside.tls, proxy=None, subprotocols=protocols, ping_interval=None
    ) as socket:
        await socket.send(json.dumps({"type": "connect", "id": 1, "token": token}))
        pings = 0
        # As many as take longer than the time-out.
        while pings < 4:
            frame = json.loads(await asyncio.wait_for(socket.recv(), 60))
            if frame["type"] == "ping":
                pings += 1
                await socket.send('{"type":"pong"}')


async def test_what_is_inside_is_not_shown_outside(outside: Outside) -> None:
    async with outside.client() as client:
        for path in ("/metrics", "/metrics/", "/readyz", "/livez/x"):
            answer = await client.get(path)
            assert (answer.status_code, "cell_monitor" in answer.text) == (404, False)
        assert (await client.get("/api/v1/openapi.json")).status_code == 200
