"""Hazard: a path answers at a port whose clients must not reach it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from cell_monitor_core.web.health import Health, health_router
from cell_monitor_core.web.listeners import Listeners, OnlyPaths, inside_of, outside_of

PATHS = ["/", "/livez", "/readyz", "/metrics", "/page", "/livez/", "//livez", "/metrics/x"]


def application() -> Starlette:
    return Starlette(routes=[Route(path, lambda _: PlainTextResponse("here")) for path in PATHS])


async def answered(app: Any, port: int) -> set[str]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://monitor:{port}") as client:
        answers = {path: await client.get(f"http://monitor:{port}{path}") for path in PATHS}
    refused = {path for path, answer in answers.items() if answer.status_code != 200}
    for path in refused:
        assert answers[path].status_code == 404
        assert answers[path].json()["detail"][0]["type"] == "not_found"
    return set(PATHS) - refused


async def test_probes_and_metrics_answer_at_the_inside_port_and_nothing_else_does() -> None:
    app = application()
    served = Listeners(outside_of(app), {9100: inside_of(app)})
    inside = {"/livez", "/readyz", "/metrics"}
    assert await answered(served, 9100) == inside
    assert await answered(served, 8900) == set(PATHS) - inside
    assert await answered(app, 9100) == set(PATHS)


def test_every_probe_is_a_path_of_the_inside() -> None:
    app = application()
    for route in health_router(Health()).routes:
        path = route.path  # type: ignore[attr-defined]
        assert inside_of(app)._allows(path), path
        assert not outside_of(app)._allows(path), path


async def test_a_websocket_to_a_path_that_is_not_served_is_refused_before_it_opens() -> None:
    async def accepts(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    app = OnlyPaths(accepts, lambda path: path == "/ws")
    await app({"type": "websocket", "path": "/other"}, receive, send)
    await app({"type": "websocket", "path": "/ws"}, receive, send)
    assert sent == ["websocket.close", "websocket.accept"]


@pytest.mark.parametrize("scope", [{"type": "lifespan"}, {"type": "http", "path": "/", "server": None}])
async def test_what_names_no_port_reaches_the_first_application(scope: dict[str, Any]) -> None:
    reached: list[str] = []

    async def first(scope: Any, _receive: Any, _send: Any) -> None:
        reached.append(scope["type"])

    async def other(_scope: Any, _receive: Any, _send: Any) -> None:
        raise AssertionError("the application of another port")

    await Listeners(outside_of(first), {9100: other})(scope, None, None)  # type: ignore[arg-type]
    assert reached == [scope["type"]]
