"""Hazards: a test sees another test's data; a fixture's server does not behave like a real one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest
import redis
import redis.asyncio.cluster

from cell_monitor.embedded.valkey import EmbeddedValkey
from cell_monitor_testing.cluster import ValkeyCluster
from cell_monitor_testing.fault_proxy import FaultProxy
from cell_monitor_testing.servers import InfluxServer, TestDatabases


@pytest.mark.parametrize("attempt", [1, 2])
async def test_each_test_gets_a_migrated_database_without_rows_of_another(database: str, attempt: int) -> None:
    connection = await asyncpg.connect(database)
    try:
        assert await connection.fetchval("SELECT count(*) FROM courses") == 0
        await connection.execute("INSERT INTO courses (course_id, title) VALUES ('c1', 'x')")
    finally:
        await connection.close()


async def test_a_database_is_dropped_even_while_a_test_left_it_connected(
    database: str, databases: TestDatabases
) -> None:
    left_open = await asyncpg.connect(database)
    await databases.drop(database)
    left_open.terminate()
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(database)


@pytest.mark.parametrize("attempt", [1, 2])
async def test_each_test_gets_an_empty_valkey_that_never_evicts(valkey: str, attempt: int) -> None:
    with redis.Redis.from_url(valkey) as client:
        assert client.dbsize() == 0
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
        client.set("left", "behind")


def test_valkey_refuses_clients_without_the_password(valkey_server: EmbeddedValkey) -> None:
    with redis.Redis(port=valkey_server.port) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_valkey_password_is_not_in_the_list_of_processes(valkey_server: EmbeddedValkey) -> None:
    process = psutil.Process(valkey_server.process.pid)
    assert valkey_server.password not in " ".join([*process.cmdline(), *process.environ().values()])


async def test_cluster_spreads_keys_over_three_masters(valkey_cluster: str, cluster_server: ValkeyCluster) -> None:
    assert valkey_cluster.startswith("redis+cluster://:")
    first = cluster_server.nodes[0]
    client = redis.asyncio.cluster.RedisCluster(host="127.0.0.1", port=first.port, password=first.password)
    for number in range(60):
        await client.set(f"key:{number}", number)
    await client.aclose()
    sizes = []
    for node in cluster_server.nodes:
        with node.client() as direct:
            sizes.append(direct.dbsize())
    assert sum(sizes) == 60
    assert min(sizes) > 0


@pytest.mark.influxdb
def test_influxdb_stores_and_returns_points(influxdb: InfluxServer) -> None:
    with httpx.Client(base_url=influxdb.url, headers={"Authorization": f"Token {influxdb.token}"}) as client:
        where = {"org": influxdb.org, "bucket": influxdb.bucket}
        client.post("/api/v2/write", params=where, content="m v=1i").raise_for_status()
        query = {"query": f'from(bucket:"{influxdb.bucket}") |> range(start:-1h) |> count()', "type": "flux"}
        answer = client.post("/api/v2/query", params={"org": influxdb.org}, json=query).raise_for_status()
    assert ",1," in answer.text


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()
    writer.close()


async def test_fault_proxy_cuts_a_connection_that_is_only_being_made() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with FaultProxy(server.sockets[0].getsockname()[1]) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        async with asyncio.timeout(60):
            while proxy.connections == 0:
                await asyncio.sleep(0)
            await proxy.cut()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()
    server.close()


async def test_fault_proxy_cuts_stalls_drops_and_heals() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with FaultProxy(server.sockets[0].getsockname()[1]) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"

        proxy.stall()
        writer.write(b"two")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        await proxy.heal()
        assert await reader.readexactly(3) == b"two"

        proxy.drop("down")
        writer.write(b"lost")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        await proxy.heal()

        await proxy.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)

        await proxy.heal()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"back")
        assert await reader.readexactly(4) == b"back"
        writer.close()
    server.close()


def test_a_server_folder_can_be_accessed_by_every_user(server_folder: Path) -> None:
    assert server_folder.stat().st_mode & 0o001
