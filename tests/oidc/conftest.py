"""A real OpenID Connect provider, and APIs whose people sign in there."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from cell_monitor.embedded.process import free_port
from cell_monitor.embedded.valkey import EmbeddedValkey
from cell_monitor_testing.keys import SampleSecrets
from cell_monitor_testing.oidc_provider import OidcProviderProcess
from cell_monitor_testing.oidc_site import OidcSite, OidcSites, callback_of
from cell_monitor_testing.servers import TestDatabases

PEOPLE = {
    "Mori": {"name": "森 さくら", "groups": ["course-physics-teachers", "another group", "course-physics-students"]},
    "mori": {"name": "Mori the Younger", "groups": ["course-chemistry-students"]},
    "nobody": {"name": "Nobody", "groups": ["no course", "course-unknown-teachers", "course-physics-kings"]},
    "sato": {"groups": "course-physics-tas"},
    "ueda": {
        "name": "Ueda\u0000\n",
        "groups": ["course-physics-teachers", None, 7, "\u0000", ["course-chemistry-teachers"]],
    },
    "ogawa": {"groups": ["course-physics-teachers"]},
}


@pytest.fixture(scope="module")
def make_site(
    databases: TestDatabases,
    valkey_server: EmbeddedValkey,
    secrets: SampleSecrets,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[OidcSites]:
    """Maker of running APIs."""
    client = valkey_server.client()
    client.flushall()
    client.close()
    maker = OidcSites(databases, valkey_server.url, secrets, tmp_path_factory.mktemp("oidc-sites"))
    yield maker
    maker.stop()


@pytest.fixture(scope="module")
def site(make_site: OidcSites, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcSite]:
    """A running provider, whose client sends its secret in the header, and an API for it: one for all tests of a file."""
    port = free_port()
    provider = OidcProviderProcess(tmp_path_factory.mktemp("oidc"), callback=callback_of(port), people=PEOPLE)
    try:
        provider.start()
        yield make_site(provider, port)
    finally:
        provider.stop()


@pytest.fixture
def browser() -> Iterator[httpx.Client]:
    """Somebody's browser."""
    with httpx.Client(timeout=60, trust_env=False) as client:
        yield client
