"""The pytest plugin: real servers for the whole test run, and empty data for each test.

The root ``conftest.py`` loads it. A server is started by the first test that uses it.

=================== ======= ============================================================================
fixture             scope   value
=================== ======= ============================================================================
``postgres_server`` session running ``EmbeddedPostgres`` (nothing forced to disk)
``databases``       session ``TestDatabases``: more databases than one, empty ones
``database``        test    DSN of a fresh database at the newest schema
``empty_database``  test    DSN of a fresh database without any table
``valkey_server``   session running ``EmbeddedValkey``
``valkey``          test    URL of that server, emptied
``cluster_server``  session running ``ValkeyCluster`` of three masters
``valkey_cluster``  test    start-up URL of that cluster, emptied
``influxdb_server`` session running ``InfluxServer``
``influxdb``        test    ``InfluxServer`` with a bucket of the test's own
``secrets``         session ``SampleSecrets``
``root``            test    none; skips a test that needs root
``server_folder``   test    a folder that servers of an unprivileged user can reach
=================== ======= ============================================================================

A test that kills a session server must start it again, or better use its own server.
"""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cell_monitor.embedded.postgres import EmbeddedPostgres
from cell_monitor.embedded.valkey import EmbeddedValkey
from cell_monitor_testing.cluster import ValkeyCluster
from cell_monitor_testing.keys import SampleSecrets
from cell_monitor_testing.optional_programs import REQUIRE_INFLUXD, REQUIRE_ROOT, skip_or_fail
from cell_monitor_testing.servers import (
    InfluxServer,
    TestDatabases,
    influxd_program,
    run_apart,
    running_postgres,
    start_influxdb,
    temporary_directory,
)

__all__ = [
    "cluster_server",
    "database",
    "databases",
    "empty_database",
    "influxdb",
    "influxdb_server",
    "postgres_server",
    "root",
    "secrets",
    "server_folder",
    "valkey",
    "valkey_cluster",
    "valkey_server",
]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL."""
    with running_postgres("postgres") as server:
        yield server


@pytest.fixture(scope="session")
def databases(postgres_server: EmbeddedPostgres) -> TestDatabases:
    """Creates databases."""
    return TestDatabases(postgres_server)


@pytest.fixture
def database(databases: TestDatabases) -> Iterator[str]:
    """DSN of a fresh database at the newest schema."""
    dsn = run_apart(databases.create)
    yield dsn
    run_apart(lambda: databases.drop(dsn))


@pytest.fixture
def empty_database(databases: TestDatabases) -> Iterator[str]:
    """DSN of a fresh database without any table."""
    dsn = run_apart(lambda: databases.create(migrated=False))
    yield dsn
    run_apart(lambda: databases.drop(dsn))


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[EmbeddedValkey]:
    """A running Valkey."""
    with temporary_directory("valkey") as directory:
        server = EmbeddedValkey(directory)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture
def valkey(valkey_server: EmbeddedValkey) -> str:
    """URL of an empty Valkey."""
    client = valkey_server.client()
    client.flushall()
    client.close()
    return valkey_server.url


@pytest.fixture(scope="session")
def cluster_server() -> Iterator[ValkeyCluster]:
    """A running Valkey Cluster of three masters."""
    with temporary_directory("cluster") as directory:
        cluster = ValkeyCluster(directory)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
def valkey_cluster(cluster_server: ValkeyCluster) -> str:
    """Start-up URL of an empty Valkey Cluster."""
    cluster_server.flush()
    return cluster_server.url


@pytest.fixture(scope="session")
def influxdb_server() -> Iterator[InfluxServer]:
    """A running InfluxDB 2."""
    program = influxd_program()
    if program is None:
        skip_or_fail("no influxd on the PATH or in CELL_MONITOR_INFLUXD", switch=REQUIRE_INFLUXD)
    with temporary_directory("influxdb") as directory:
        server = start_influxdb(program, directory)
        try:
            yield server
        finally:
            server.process.stop()


@pytest.fixture
def influxdb(influxdb_server: InfluxServer) -> InfluxServer:
    """A running InfluxDB 2 with an empty bucket."""
    return dataclasses.replace(influxdb_server, bucket=influxdb_server.create_bucket(f"test-{uuid.uuid4().hex}"))


@pytest.fixture(scope="session")
def secrets() -> SampleSecrets:
    """Sample keys."""
    return SampleSecrets.generate()


@pytest.fixture
def root() -> None:
    """Nothing; skips the test unless it runs as root, or fails it if ``CELL_MONITOR_REQUIRE_ROOT=1``."""
    if os.geteuid() != 0:
        skip_or_fail("no right to act as another account: this test needs root", switch=REQUIRE_ROOT)


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A folder that servers of an unprivileged user can access."""
    with temporary_directory("test") as directory:
        yield directory
