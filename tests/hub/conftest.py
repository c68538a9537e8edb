"""A JupyterHub of each version with students' servers that send to a running API, and the dashboard's services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cell_monitor.embedded.process import free_port
from cell_monitor_core.storage.postgres import courses
from cell_monitor_testing.hub_site import HubSite
from cell_monitor_testing.jupyter_hosts import Host
from cell_monitor_testing.jupyter_hub import SERVICE_TOKEN, HubProcess
from cell_monitor_testing.keys import SampleSecrets
from cell_monitor_testing.processes import ServiceProcess
from cell_monitor_testing.servers import run_apart

DASHBOARD = Path(__file__).parents[2] / "dashboard/dist"


@pytest.fixture(scope="session")
def hub_api_port() -> int:
    """The port of the API that the users' servers send to: one for all tests, since the Hub is started once."""
    return free_port()


@pytest.fixture(scope="session")
def hub(host: Host, hub_api_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A running JupyterHub of the host's version."""
    hub = HubProcess(host.python, tmp_path_factory.mktemp(host.name), api_url=f"http://127.0.0.1:{hub_api_port}")
    try:
        hub.start()
        yield hub
    finally:
        hub.stop()


@pytest.fixture(scope="session")
def server_of_tanaka(hub: HubProcess) -> dict[str, str]:
    """The environment of a student's server, which runs as long as the Hub."""
    return hub.start_server("tanaka")


@pytest.fixture
def roster_s() -> int:
    """Seconds between two readings of the Hub's groups; 0: people are known once they sign in or send."""
    return 0


@pytest.fixture
def site(
    hub: HubProcess,
    hub_api_port: int,
    database: str,
    valkey: str,
    secrets: SampleSecrets,
    tmp_path: Path,
    roster_s: int,
) -> Iterator[HubSite]:
    """The Hub, an API with the dashboard over an empty database that has the course ``physics``, and a gateway."""
    gateway_port = free_port()
    api = ServiceProcess(
        "cell_monitor_api",
        env={
            "CELL_MONITOR_API_PORT": str(hub_api_port),
            "CELL_MONITOR_REDIS_URL": valkey,
            "CELL_MONITOR_DATABASE_URL": database,
            "CELL_MONITOR_API_HUB_URL": hub.api_url,
            "CELL_MONITOR_API_HUB_RECHECK_S": "10",
            "CELL_MONITOR_API_HUB_GROUP_PATTERN": "course-(?P<course>.+)-(?P<role>[a-z]+)",
            "CELL_MONITOR_API_HUB_ROLES": '{"teachers": "instructor"}',
            "CELL_MONITOR_PUBLIC_URL": f"http://127.0.0.1:{hub_api_port}",
            "CELL_MONITOR_API_HUB_PUBLIC_URL": f"{hub.public_url}/hub/api",
            "CELL_MONITOR_API_HUB_TOKEN": SERVICE_TOKEN,
            "CELL_MONITOR_API_HUB_SESSION_CHECK_S": "5",
            "CELL_MONITOR_API_HUB_ROSTER_S": str(roster_s),
            "CELL_MONITOR_DASHBOARD_DIR": str(DASHBOARD),
            "CELL_MONITOR_GATEWAY_URL": f"ws://127.0.0.1:{gateway_port}/ws",
            **secrets.environment,
        },
        port=hub_api_port,
        log_path=tmp_path / "api.log",
    )
    gateway = ServiceProcess(
        "cell_monitor_gateway",
        env={
            "CELL_MONITOR_GATEWAY_PORT": str(gateway_port),
            "CELL_MONITOR_REDIS_URL": valkey,
            "CELL_MONITOR_JWKS_URL": f"{api.url}/api/v1/auth/jwks.json",
            "CELL_MONITOR_ALLOWED_ORIGINS": api.url,
        },
        port=gateway_port,
        log_path=tmp_path / "gateway.log",
    )
    site = HubSite(hub=hub, api=api.url, gateway=f"ws://127.0.0.1:{gateway_port}/ws", dsn=database, secrets=secrets)
    site.sql(lambda pool: courses.create(pool, "physics", "Physics"))
    hub.put_groups({})
    services = (api, gateway)
    # Started in this thread, whose end would end them; awaited apart, since the hosts' browser runs an event loop here.
    for service in services:
        service.launch()
    for service in services:
        run_apart(service.wait_ready)
    yield site
    for service in services:
        run_apart(service.stop)
