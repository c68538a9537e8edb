"""Hazard: a student's server, or a client outside, reaches a route at a port that is not for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from pydantic import ValidationError

from cell_monitor.embedded.process import free_port
from cell_monitor_api.main import create_api
from cell_monitor_core.settings import SettingsError
from cell_monitor_testing.processes import ServiceProcess

INSIDE = {("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics")}
FOR_STUDENTS_SERVERS = {
    ("POST", "/api/v1/events"),
    ("POST", "/api/v1/auth/token"),
    ("POST", "/api/v1/auth/join"),
    ("POST", "/api/v1/test/events/{test_id}"),
    ("GET", "/api/v1/test/events/{test_id}"),
}
EVENTS = {route for route in FOR_STUDENTS_SERVERS if not route[1].startswith("/api/v1/auth/")}
NO_SUCH_PORT = "this path is not served at this port"

Route = tuple[str, str]
StartApi = Callable[..., ServiceProcess]


def all_routes() -> set[Route]:
    return {
        (method, route.path)
        for route in iter_route_contexts(create_api(None).routes)
        for method in (route.methods or set()) - {"HEAD"}
        if route.path is not None
    }


@pytest.fixture
def make_api(database: str, valkey: str, secrets: Any, tmp_path: Any) -> StartApi:
    def make(port: int, **settings: str) -> ServiceProcess:
        return ServiceProcess(
            "cell_monitor_api",
            env={
                "CELL_MONITOR_API_PORT": str(port),
                "CELL_MONITOR_REDIS_URL": valkey,
                "CELL_MONITOR_DATABASE_URL": database,
                **secrets.environment,
                **{f"CELL_MONITOR_{name}": value for name, value in settings.items()},
            },
            port=int(settings.get("API_INSIDE_PORT", port)),
            log_path=tmp_path / "api.log",
        )

    return make


async def served(port: int) -> set[Route]:
    """Return the routes that a port serves, whatever they answer."""
    found = set()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
        for method, path in all_routes():
            answer = await client.request(method, path.replace("{", "").replace("}", ""))
            if answer.status_code != 404 or answer.json()["detail"][0]["msg"] != NO_SUCH_PORT:
                found.add((method, path))
    return found


async def test_each_port_serves_what_its_clients_may_send_and_no_other_route(make_api: StartApi) -> None:
    pages, ingest, inside = free_port(), free_port(), free_port()
    hub = "http://127.0.0.1:9/hub/api"
    async with make_api(pages, API_INGEST_PORT=str(ingest), API_INSIDE_PORT=str(inside), API_HUB_URL=hub):
        assert await served(ingest) == FOR_STUDENTS_SERVERS
        assert await served(inside) == INSIDE
        assert await served(pages) == all_routes() - INSIDE - EVENTS


async def test_without_a_hub_one_address_is_enough_for_pages_and_events(make_api: StartApi) -> None:
    pages, ingest, inside = free_port(), free_port(), free_port()
    async with make_api(pages, API_INGEST_PORT=str(ingest), API_INSIDE_PORT=str(inside)):
        assert await served(pages) == all_routes() - INSIDE
        assert await served(ingest) == FOR_STUDENTS_SERVERS


async def test_one_port_serves_everything_where_no_other_is_set(make_api: StartApi) -> None:
    port = free_port()
    async with make_api(port):
        assert await served(port) == all_routes()


async def test_a_path_that_only_resembles_one_for_students_servers_is_not_served(make_api: StartApi) -> None:
    ingest = free_port()
    async with make_api(free_port(), API_INGEST_PORT=str(ingest)), httpx.AsyncClient(trust_env=False) as client:
        for path in (
            "/api/v1/events/",
            "/api/v1/events/x",
            "/api/v1/eventsx",
            "/api/v1/auth/tokens",
            "//api/v1/events",
            "/",
        ):
            answer = await client.get(f"http://127.0.0.1:{ingest}{path}")
            assert (answer.status_code, answer.json()["detail"][0]["msg"]) == (404, NO_SUCH_PORT), path


@pytest.mark.parametrize(
    "settings",
    [
        {"api_ingest_port": 8900},
        {"api_ingest_port": 8904, "api_inside_port": 8904},
        {"api_ingest_on_pages": False},
    ],
)
def test_ports_that_cannot_work_are_refused_at_start(make_settings: Any, settings: dict[str, Any]) -> None:
    with pytest.raises((SettingsError, ValidationError), match="API_INGEST_PORT"):
        make_settings(**settings)
