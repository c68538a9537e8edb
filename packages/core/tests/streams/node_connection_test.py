"""Replies reach the callers that they belong to, whatever happens to the connection in between."""

from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.connection import Connection
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError
from structlog.testing import capture_logs

from cell_monitor_core.redis_client import aclose, connect
from cell_monitor_core.streams import node_connection
from cell_monitor_core.streams.node_connection import NodeConnections, Pipeline, transport_of

LONG = 60.0


class Wire(asyncio.Transport):
    """A transport that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_protocol(self) -> asyncio.BaseProtocol:
        return asyncio.Protocol()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass


def bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


@given(
    asked=st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=4), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    cancelled=st.sets(st.integers(0, 5)),
)
async def test_replies_cut_anywhere_reach_their_own_request_and_no_other(
    asked: list[list[bytes]], cuts: list[int], cancelled: set[int]
) -> None:
    pipeline = Pipeline(Wire())
    requests = [pipeline.send(b"*", len(replies), seconds=LONG) for replies in asked]
    for index in cancelled & set(range(len(requests))):
        requests[index].cancel()
    stream = b"".join(bulk(reply) for replies in asked for reply in replies)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(edges):
        pipeline.data_received(stream[start:end])
    for index, (request, replies) in enumerate(zip(requests, asked, strict=True)):
        assert request.cancelled() if index in cancelled else request.result() == replies
    assert pipeline.is_open


@pytest.mark.parametrize(
    ("line", "kind", "attributes"),
    [
        (b"-MOVED 866 10.0.0.7:7001\r\n", MovedError, {"slot_id": 866, "host": "10.0.0.7", "port": 7001}),
        (b"-ASK 866 10.0.0.7:7001\r\n", AskError, {"slot_id": 866, "port": 7001}),
        (b"-NOSCRIPT No matching script.\r\n", NoScriptError, {}),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", OutOfMemoryError, {}),
        (b"-READONLY You can't write against a read only replica.\r\n", ReadOnlyError, {}),
        (b"-CLUSTERDOWN The cluster is down\r\n", ClusterDownError, {}),
        (b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", TryAgainError, {}),
        (b"-LOADING Redis is loading the dataset in memory\r\n", ResponseError, {}),
    ],
)
async def test_an_error_reply_has_its_own_type_and_ends_nothing(
    line: bytes, kind: type[Exception], attributes: dict[str, Any]
) -> None:
    pipeline = Pipeline(Wire())
    request = pipeline.send(b"*", 2, seconds=LONG)
    pipeline.data_received(line + bulk(b"next"))
    error, after = request.result()
    assert isinstance(error, kind)
    assert {name: getattr(error, name) for name in attributes} == attributes
    assert after == b"next"
    assert pipeline.is_open


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x01\x02\r\n"])
async def test_what_is_no_reply_ends_the_connection_and_fails_all_requests(garbage: bytes) -> None:
    wire = Wire()
    pipeline = Pipeline(wire)
    requests = [pipeline.send(b"*", 1, seconds=LONG) for _ in range(3)]
    pipeline.data_received(bulk(b"good"))
    pipeline.data_received(garbage)
    assert requests[0].result() == [b"good"]
    for request in requests[1:]:
        with pytest.raises(RedisError, match="cannot be read"):
            request.result()
    assert wire.aborted


async def test_a_reply_without_a_request_is_never_taken_for_a_later_ones() -> None:
    wire = Wire()
    pipeline = Pipeline(wire)
    pipeline.data_received(bulk(b"surprise"))
    assert not pipeline.is_open
    with pytest.raises(RedisError):
        await pipeline.send(b"*", 1, seconds=LONG)
    assert wire.sent == []


async def test_a_node_that_does_not_answer_is_disconnected_and_all_its_requests_fail() -> None:
    wire = Wire()
    pipeline = Pipeline(wire)
    early = pipeline.send(b"*", 1, seconds=0.05)
    answered = pipeline.send(b"*", 1, seconds=0.05)
    pipeline.data_received(bulk(b"one"))
    assert await early == [b"one"]
    late = pipeline.send(b"*", 1, seconds=0.05)
    for request in (answered, late):
        with pytest.raises(RedisTimeoutError):
            await request
    assert wire.aborted


async def test_an_answer_in_time_keeps_the_connection(valkey: str) -> None:
    connection = await _connection(valkey)
    pipeline = Pipeline(transport_of(connection))  # type: ignore[arg-type]
    assert await pipeline.send(b"*1\r\n$4\r\nPING\r\n", 1, seconds=0.5) == [b"PONG"]
    # Longer than the first one's time: its timer must be gone.
    await pipeline.send(b"*4\r\n$5\r\nBLPOP\r\n$6\r\nnobody\r\n$3\r\nnot\r\n$1\r\n1\r\n", 1, seconds=LONG)
    assert pipeline.is_open
    await connection.disconnect()


async def test_the_end_of_a_connection_reaches_redis_py_too(valkey: str) -> None:
    connection = await _connection(valkey)
    pipeline = Pipeline(transport_of(connection))  # type: ignore[arg-type]
    request = pipeline.send(b"*3\r\n$5\r\nBLPOP\r\n$6\r\nnobody\r\n$1\r\n0\r\n", 1, seconds=LONG)
    # Waits until its own protocol is notified of the end; it would never return if the pipeline did not pass that on.
    await asyncio.wait_for(connection.disconnect(), 60)
    with pytest.raises(RedisError, match="closed"):
        await request
    assert not pipeline.is_open


async def _connection(url: str) -> Connection:
    connection = cast("Any", connect(url, name="test")).connection_pool.make_connection()
    await connection.connect()
    return cast("Connection", connection)


PING = (b"PING",)


async def test_requests_go_through_the_transport_that_this_redis_py_has(valkey: str) -> None:
    client = connect(valkey, name="test")
    nodes = NodeConnections(client)
    node = nodes.for_slot(0)
    assert node is not None
    await node.open()
    assert await node.send([PING, PING]) == [b"PONG", b"PONG"]
    # Not by the slow way, unnoticed.
    assert node._pipeline is not None
    assert node._pipeline.is_open
    await nodes.aclose()
    await aclose(client)


@pytest.mark.parametrize("shape", [None, SimpleNamespace(transport=None), SimpleNamespace(transport=object())])
async def test_a_redis_py_of_another_shape_is_noticed_and_its_own_pipeline_used(
    valkey: str, monkeypatch: pytest.MonkeyPatch, shape: Any
) -> None:
    found = transport_of
    monkeypatch.setattr(node_connection, "transport_of", lambda _: found(cast("Any", SimpleNamespace(_writer=shape))))
    client = connect(valkey, name="test")
    nodes = NodeConnections(client)
    node = nodes.for_slot(0)
    assert node is not None
    with capture_logs() as logs:
        await node.open()
    assert [entry["event"] for entry in logs] == ["redis_transport_not_found"]
    assert node.is_open
    replies = await node.send([PING, (b"EVALSHA", b"0" * 40, b"1", b"key")])
    assert replies[0] in {True, b"PONG"}
    assert isinstance(replies[1], NoScriptError)
    await nodes.aclose()
    await aclose(client)


async def test_a_redis_py_without_the_attribute_is_noticed_when_the_process_starts(
    valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_connection, "Connection", object)
    client = connect(valkey, name="test")
    with capture_logs() as logs:
        node = NodeConnections(client).for_slot(0)
    assert [entry["event"] for entry in logs] == ["redis_transport_not_found"]
    assert node is not None
    assert node.is_open
    assert await node.send([PING]) in ([True], [b"PONG"])
    await aclose(client)


async def test_a_connection_closed_before_it_was_used_is_an_error_and_no_reason_for_the_slow_way(
    valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(connection: Any) -> None:
        connection._writer.close()
        connection._reader = connection._writer = None

    monkeypatch.setattr(node_connection, "transport_of", lose)
    client = connect(valkey, name="test")
    node = NodeConnections(client).for_slot(0)
    assert node is not None
    with pytest.raises(RedisError, match="closed"):
        await node.open()
    assert not node.is_open
    await aclose(client)
