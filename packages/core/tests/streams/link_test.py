"""Replies go to those who asked, whatever happens to the connection in between."""

from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
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

from cell_monitor_core.streams.link import Link

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


def link_on(wire: Wire) -> Link:
    return Link(cast("Any", SimpleNamespace(_writer=SimpleNamespace(transport=wire))))


def bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


@given(
    asked=st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=4), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    given_up=st.sets(st.integers(0, 5)),
)
@settings(deadline=None)
async def test_replies_cut_anywhere_reach_who_asked_and_nobody_else(
    asked: list[list[bytes]], cuts: list[int], given_up: set[int]
) -> None:
    link = link_on(Wire())
    trips = [link.send(b"*", len(replies), seconds=LONG) for replies in asked]
    for index in given_up & set(range(len(trips))):
        trips[index].cancel()
    stream = b"".join(bulk(reply) for replies in asked for reply in replies)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(edges):
        link.data_received(stream[start:end])
    for index, (trip, replies) in enumerate(zip(trips, asked, strict=True)):
        assert trip.cancelled() if index in given_up else trip.result() == replies
    assert link.is_open


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
async def test_an_error_reply_is_told_apart_and_ends_nothing(
    line: bytes, kind: type[Exception], attributes: dict[str, Any]
) -> None:
    link = link_on(Wire())
    trip = link.send(b"*", 2, seconds=LONG)
    link.data_received(line + bulk(b"next"))
    error, after = trip.result()
    assert isinstance(error, kind)
    assert {name: getattr(error, name) for name in attributes} == attributes
    assert after == b"next"
    assert link.is_open


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x01\x02\r\n"])
async def test_what_is_no_reply_ends_the_connection_and_everybody_is_told(garbage: bytes) -> None:
    wire = Wire()
    link = link_on(wire)
    trips = [link.send(b"*", 1, seconds=LONG) for _ in range(3)]
    link.data_received(bulk(b"good"))
    link.data_received(garbage)
    assert trips[0].result() == [b"good"]
    for trip in trips[1:]:
        with pytest.raises(RedisError, match="cannot be read"):
            trip.result()
    assert wire.aborted


async def test_a_reply_that_nobody_asked_for_is_never_taken_for_a_later_one() -> None:
    wire = Wire()
    link = link_on(wire)
    link.data_received(bulk(b"surprise"))
    assert not link.is_open
    with pytest.raises(RedisError):
        await link.send(b"*", 1, seconds=LONG)
    assert wire.sent == []


async def test_a_node_that_says_nothing_is_given_up_with_all_that_waits() -> None:
    wire = Wire()
    link = link_on(wire)
    early = link.send(b"*", 1, seconds=0.05)
    answered = link.send(b"*", 1, seconds=0.05)
    link.data_received(bulk(b"one"))
    assert await early == [b"one"]
    late = link.send(b"*", 1, seconds=0.05)
    for trip in (answered, late):
        with pytest.raises(RedisTimeoutError):
            await trip
    assert wire.aborted


async def test_an_answer_in_time_keeps_the_connection(valkey: str) -> None:
    connection = await _connection(valkey)
    link = Link(connection)
    assert await link.send(b"*1\r\n$4\r\nPING\r\n", 1, seconds=0.5) == [b"PONG"]
    # Longer than the first one's time: its timer must be gone.
    await link.send(b"*4\r\n$5\r\nBLPOP\r\n$6\r\nnobody\r\n$3\r\nnot\r\n$1\r\n1\r\n", 1, seconds=LONG)
    assert link.is_open
    await connection.disconnect()


async def test_the_end_of_a_connection_reaches_redis_py_too(valkey: str) -> None:
    connection = await _connection(valkey)
    link = Link(connection)
    trip = link.send(b"*3\r\n$5\r\nBLPOP\r\n$6\r\nnobody\r\n$1\r\n0\r\n", 1, seconds=LONG)
    # Waits for its own protocol to hear of the end: for ever, if the link kept that to itself.
    await asyncio.wait_for(connection.disconnect(), 5)
    with pytest.raises(RedisError, match="closed"):
        await trip
    assert not link.is_open


async def _connection(url: str) -> Connection:
    from cell_monitor_core.redis_client import connect

    connection = cast("Any", connect(url, name="test")).connection_pool.make_connection()
    await connection.connect()
    return cast("Connection", connection)
