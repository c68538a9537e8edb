"""Stores that Debian installs, each with TLS and with no more than the documented rights, and the services of the tests over them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cell_monitor_testing.foreign_site import SECRET, Site
from cell_monitor_testing.installed_programs import running_postgresql, running_redis
from cell_monitor_testing.keys import SampleSecrets
from cell_monitor_testing.servers import run_apart, temporary_directory

PAGE = (Path(__file__).parents[2] / "docs/operations/datastores.md").read_text("utf-8")
[DOCUMENTED] = re.findall(r"^    (resetchannels(?:.|\n)+?)\n\n", PAGE, re.MULTILINE)
[NOBODY] = re.findall(r"^    user (default off .*)$", PAGE, re.MULTILINE)
USERS = {
    # What managed services give, and exactly the documented rules.
    "managed": "~* &* +@all -@admin -@dangerous +info",
    "documented": " ".join(DOCUMENTED.split()),
}


@contextmanager
def prepared(secrets: SampleSecrets, *, tls: bool) -> Iterator[Site]:
    users = [NOBODY, *(f"{name} on >{SECRET} {rules}" for name, rules in USERS.items())]
    with (
        temporary_directory("stores") as folder,
        running_redis(folder, *users, tls=tls) as redis,
        running_postgresql(folder, user="owner", password=SECRET) as postgresql,
    ):
        site = Site(folder, secrets, redis, postgresql, redis_user="documented")
        site.describe()
        run_apart(site.prepare)
        yield site


@pytest.fixture(scope="module")
def stores(secrets: SampleSecrets) -> Iterator[Site]:
    """The stores, with the newest schema; the services are not started."""
    with prepared(secrets, tls=True) as site:
        yield site


@pytest.fixture(scope="module")
def plain_stores(secrets: SampleSecrets) -> Iterator[Site]:
    """The same with a Redis that speaks no TLS, so that something else must."""
    with prepared(secrets, tls=False) as site:
        yield site


@pytest.fixture(scope="session")
def documented_rules() -> list[str]:
    """The documented rules of the services' user of Redis."""
    return DOCUMENTED.split()
