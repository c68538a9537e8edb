"""Hazard: an error of a connection or of a Cluster ends a task, because it is none of those that redis-py documents."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import RedisCluster
from redis.crc import key_slot

from cell_monitor_core import keys
from cell_monitor_core.redis_client import REDIS_ERRORS, aclose, connect, run_command


@pytest.fixture
async def cluster(valkey_cluster: str) -> Any:
    client = connect(valkey_cluster, name="test")
    assert isinstance(client, RedisCluster)
    await client.initialize()
    yield client
    await aclose(client)


async def test_closed_while_sending_is_an_error_of_redis(cluster: Any) -> None:
    connection = cluster.get_node_from_key("x").acquire_connection()
    await connection.connect()
    sending = asyncio.create_task(connection.send_command("PING"))
    # Far enough that the connection was found open, not so far that anything was written.
    await asyncio.sleep(0)
    writer, connection._writer = connection._writer, None
    with pytest.raises(REDIS_ERRORS):
        await sending
    writer.close()


async def test_closed_while_waiting_for_an_answer_is_an_error_of_redis(cluster: Any) -> None:
    connection = cluster.get_node_from_key("x").acquire_connection()
    await connection.connect()
    await connection.send_command("BLPOP", "nothing", "5")
    waiting = asyncio.create_task(connection.read_response())
    await asyncio.sleep(0)
    await connection.disconnect(nowait=True)
    with pytest.raises(REDIS_ERRORS):
        await waiting


async def test_a_shard_without_a_master_is_an_error_of_redis(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = keys.events_stream(0)
    await run_command(cluster, stream, "EXISTS", stream)
    covered = dict(cluster.nodes_manager.slots_cache)
    del covered[key_slot(stream.encode())]
    monkeypatch.setattr(cluster.nodes_manager, "slots_cache", covered)
    with pytest.raises(REDIS_ERRORS):
        await run_command(cluster, stream, "EXISTS", stream)
