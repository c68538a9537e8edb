"""One connection to each Redis node that takes events, with several requests in flight on it.

redis-py opens the connections: address, topology of a Cluster, TLS, authentication, name. From there a ``Pipeline`` reads
the transport instead of redis-py's stream reader, which allows one request at a time and costs more of each
(docs/adr/0001). redis-py has no public name for the transport. Where it cannot be reached, requests go through redis-py's
own pipelines: slower, and otherwise the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

import hiredis
import structlog
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection, Connection
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cell_monitor_core.redis_client import COMMAND_TIMEOUT_SECONDS, REDIS_ERRORS, RedisClient

__all__ = ["NOT_RUN", "NodeConnection", "NodeConnections", "Pipeline", "transport_of"]

_log = structlog.get_logger(__name__)

Command = tuple[bytes, ...]

_TOPOLOGY_SECONDS: Final = 1.0
_REQUEST_SECONDS: Final = COMMAND_TIMEOUT_SECONDS
_INCOMPLETE: Final = object()
# redis-py's asyncio connections pack in Python; the type stub of hiredis takes tuples of one item only.
_pack = cast("Callable[[Command], bytes]", hiredis.pack_command)
_TRANSPORT_METHODS: Final = ("abort", "get_protocol", "is_closing", "set_protocol", "write")
NOT_RUN: Final = (NoScriptError, MovedError, AskError, TryAgainError)
"""Each of these replies says that the command did not run."""
# An error reply begins with its code (RESP, "simple errors"); those of Cluster have the address in the rest.
_ERRORS: Final[dict[str, type[ResponseError]]] = {
    "ASK": AskError,
    "CLUSTERDOWN": ClusterDownError,
    "MOVED": MovedError,
    "NOSCRIPT": NoScriptError,
    "OOM": OutOfMemoryError,
    "READONLY": ReadOnlyError,
    "TRYAGAIN": TryAgainError,
}


def _error(message: str) -> ResponseError:
    code, _, rest = message.partition(" ")
    known = _ERRORS.get(code)
    return ResponseError(message) if known is None else known(rest)


def transport_of(connection: AbstractConnection) -> asyncio.Transport | None:
    """Return the transport below an open connection of redis-py; None where this redis-py does not have it there."""
    transport = getattr(getattr(connection, "_writer", None), "transport", None)
    if all(callable(getattr(transport, name, None)) for name in _TRANSPORT_METHODS):
        return cast("asyncio.Transport", transport)
    return None


class _Request:
    """A request in flight: ``count`` replies that are due at ``deadline`` (seconds of the loop's clock)."""

    __slots__ = ("count", "deadline", "future", "replies")

    def __init__(self, future: asyncio.Future[list[Any]], count: int, deadline: float) -> None:
        self.future = future
        self.count = count
        self.deadline = deadline
        self.replies: list[Any] = []


class Pipeline(asyncio.Protocol):
    """Requests in flight on one transport: commands are written at once, replies are matched in order.

    Args:
        transport: of a connection that redis-py has opened and that nothing else uses.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        # redis-py's own protocol must still be notified of the end: closing the connection waits for it.
        self._redis_py = cast("asyncio.Protocol", transport.get_protocol())
        self._reader = hiredis.Reader(replyError=_error, notEnoughData=_INCOMPLETE)
        self._in_flight: deque[_Request] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._end: Exception | None = None
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return self._end is None and not self._transport.is_closing()

    def send(self, packed: bytes, count: int, *, seconds: float) -> asyncio.Future[list[Any]]:
        """Send ``count`` packed commands as one request; the result are their replies, an error reply as its exception.

        The result is an error of redis-py's when the connection ends, or when the replies are not complete after
        ``seconds``, which ends it: the result of all commands is then unknown. ``seconds`` is the same for all requests of
        a connection.
        """
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.is_open:
            self._in_flight.append(_Request(future, count, self._loop.time() + seconds))
            if self._timer is None:
                self._timer = self._loop.call_later(seconds, self._check_oldest)
            self._transport.write(packed)
        else:
            future.set_exception(self._end or RedisConnectionError("the connection is closed"))
        return future

    def _check_oldest(self) -> None:
        """End the connection if its oldest request is overdue: one timer for all of them, since they end in order."""
        self._timer = None
        if self._in_flight:
            remaining = self._in_flight[0].deadline - self._loop.time()
            # The loop's clock has steps of a millisecond.
            if remaining > 0.001:
                self._timer = self._loop.call_later(remaining, self._check_oldest)
            else:
                self._close(RedisTimeoutError("Redis did not answer in time"))

    def _close(self, error: Exception) -> None:
        """Close the connection at once; all requests in flight fail with the error."""
        if self._end is None:
            self._end = error
            self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        in_flight, self._in_flight = self._in_flight, deque()
        for request in in_flight:
            if not request.future.done():
                request.future.set_exception(error)

    def data_received(self, data: bytes) -> None:
        """Match replies with the requests in flight; asyncio calls this."""
        try:
            self._reader.feed(data)
            reply = self._reader.gets()
            while reply is not _INCOMPLETE:
                request = self._in_flight[0]
                request.replies.append(reply)
                if len(request.replies) == request.count:
                    self._in_flight.popleft()
                    if not request.future.done():
                        request.future.set_result(request.replies)
                reply = self._reader.gets()
        except (hiredis.HiredisError, IndexError) as error:
            # Not RESP, or a reply to nothing: from here on no reply can be matched with certainty.
            self._close(RedisConnectionError(f"Redis sent what cannot be read: {type(error).__name__}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end; asyncio calls this."""
        self._close(RedisConnectionError("Redis closed the connection" if exc is None else str(exc)))
        self._redis_py.connection_lost(exc)


class NodeConnection:
    """The connection to one node.

    Args:
        name: of the node, for the log.
        client: the client that the connection belongs to.
        acquire: takes a connection to the node from the client.
    """

    __slots__ = ("_acquire", "_client", "_connection", "_falls_back", "_opening", "_pipeline", "name")

    def __init__(
        self, name: str, client: RedisClient, acquire: Callable[[], Awaitable[AbstractConnection]], *, falls_back: bool
    ) -> None:
        self.name = name
        self._client = client
        self._acquire = acquire
        self._connection: AbstractConnection | None = None
        self._pipeline: Pipeline | None = None
        self._falls_back = falls_back
        self._opening = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent without ``open``."""
        return self._falls_back or (self._pipeline is not None and self._pipeline.is_open)

    async def open(self) -> None:
        """Connect to the node, if it is not connected.

        Raises:
            RedisError, OSError, TimeoutError: it does not answer.
        """
        async with self._opening, asyncio.timeout(_REQUEST_SECONDS):
            if self.is_open:
                return
            connection = self._connection
            if connection is None:
                connection = self._connection = await self._acquire()
            # Replies to whatever it was used for before must not be read as ours.
            await connection.disconnect(nowait=True)
            await connection.connect()  # type: ignore[no-untyped-call]
            transport = transport_of(connection)
            if transport is not None:
                self._pipeline = Pipeline(transport)
            elif connection.is_connected:
                _log.warning(
                    "redis_transport_not_found", node=self.name, reason="redis-py's connection has another shape"
                )
                self._falls_back = True
                await connection.disconnect()
            else:
                raise RedisConnectionError("the connection was closed before it was used")

    def send(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Send commands as one request; the result are their replies, see ``Pipeline.send``."""
        if self._pipeline is None:
            return asyncio.get_running_loop().create_task(self._execute(commands), name="redis-pipeline")
        packed = b"".join([_pack(command) for command in commands])
        return self._pipeline.send(packed, len(commands), seconds=_REQUEST_SECONDS)

    async def _execute(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands through redis-py's own pipeline, which opens connections itself."""
        client = self._client
        pipeline = client.pipeline() if isinstance(client, RedisCluster) else client.pipeline(transaction=False)
        for name, *arguments in commands:
            # Its Cluster client finds the node by the command's name as text.
            pipeline.execute_command(name.decode(), *arguments)
        async with asyncio.timeout(_REQUEST_SECONDS):
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
        for reply in replies:
            # A Cluster's pipeline returns even these errors among the replies.
            if isinstance(reply, REDIS_ERRORS) and not isinstance(reply, ResponseError):
                raise reply
        return replies

    async def aclose(self) -> None:
        """Close the connection; redis-py's client still counts it as its own and closes it again without harm."""
        connection, self._connection, self._pipeline = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(*REDIS_ERRORS):
                await connection.disconnect(nowait=True)


class NodeConnections:
    """The connections of a client: one for a single server, one for each master of a Cluster."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._by_name: dict[str, NodeConnection] = {}
        self._refreshed_at = float("-inf")
        self._falls_back = not hasattr(Connection(), "_writer")
        if self._falls_back:
            _log.warning("redis_transport_not_found", reason="redis-py's connections have no such attribute")
        self._single = None if isinstance(client, RedisCluster) else self._connection("single", self._acquire_single)

    def for_slot(self, slot: int) -> NodeConnection | None:
        """Return the connection to the node of a slot; None where the topology of the Cluster is not known yet."""
        if self._single is not None:
            return self._single
        cluster = cast("RedisCluster", self._client)
        try:
            node = cluster.nodes_manager.get_node_from_slot(slot)
        except (*REDIS_ERRORS, KeyError):
            return None

        async def acquire() -> AbstractConnection:
            return node.acquire_connection()

        return self._by_name.get(node.name) or self._connection(node.name, acquire)

    def _connection(self, name: str, acquire: Callable[[], Awaitable[AbstractConnection]]) -> NodeConnection:
        connection = NodeConnection(name, self._client, acquire, falls_back=self._falls_back)
        self._by_name[name] = connection
        return connection

    async def resolve(self) -> None:
        """Ask a Cluster for its topology.

        Raises:
            RedisError, OSError, TimeoutError: no node answered.
        """
        if isinstance(self._client, RedisCluster):
            async with asyncio.timeout(_REQUEST_SECONDS):
                await self._client.initialize()
                # The client may be initialised and still not know a slot: a shard was unavailable when it asked.
                await self.refresh()

    async def refresh(self) -> None:
        """Ask a Cluster for its topology again, at most once a second; a failure is the next command's to report."""
        now = time.monotonic()
        if isinstance(self._client, RedisCluster) and now - self._refreshed_at >= _TOPOLOGY_SECONDS:
            self._refreshed_at = now
            with contextlib.suppress(*REDIS_ERRORS):
                async with asyncio.timeout(_REQUEST_SECONDS):
                    await self._client.nodes_manager.initialize()

    async def aclose(self) -> None:
        """Close all connections."""
        for connection in self._by_name.values():
            await connection.aclose()

    async def _acquire_single(self) -> AbstractConnection:
        pool = cast("Redis", self._client).connection_pool
        return cast("AbstractConnection", await pool.get_connection())  # type: ignore[no-untyped-call]
