"""A JupyterHub of each version with students' servers that send to a running API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cell_monitor.embedded.process import free_port
from cell_monitor_core.storage.postgres import courses
from cell_monitor_testing.hub_site import HubSite
from cell_monitor_testing.jupyter_hosts import Host
from cell_monitor_testing.jupyter_hub import HubProcess
from cell_monitor_testing.keys import SampleSecrets
from cell_monitor_testing.processes import ServiceProcess
from cell_monitor_testing.servers import run_apart


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


@pytest.fixture
def site(
    hub: HubProcess, hub_api_port: int, database: str, valkey: str, secrets: SampleSecrets, tmp_path: Path
) -> Iterator[HubSite]:
    """The Hub with an API over an empty database that has the course ``physics``."""
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
            **secrets.environment,
        },
        port=hub_api_port,
        log_path=tmp_path / "api.log",
    )
    site = HubSite(hub, api.url, database, secrets)
    site.sql(lambda pool: courses.create(pool, "physics", "Physics"))
    hub.put_groups({})
    # Started in this thread, whose end would end it; awaited apart, since the hosts' browser runs an event loop here.
    api.launch()
    run_apart(api.wait_ready)
    yield site
    run_apart(api.stop)
