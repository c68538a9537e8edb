"""One connection to a Redis node that several round trips share: commands leave at once, replies return in order.

redis-py opens the connection: address, TLS, authentication, name. From there its transport is read by this protocol
instead of by redis-py's stream reader, which allows one round trip at a time and costs more of each (docs/adr/0001).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
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

__all__ = ["Link"]

_INCOMPLETE: Final = object()
# An error reply begins with its code (RESP, "simple errors"); those of Cluster tell the way in the rest.
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


class _RoundTrip:
    """Replies that somebody waits for."""

    __slots__ = ("count", "deadline", "future", "replies")

    def __init__(self, future: asyncio.Future[list[Any]], count: int, deadline: float) -> None:
        self.future = future
        self.count = count
        self.deadline = deadline
        self.replies: list[Any] = []


class Link(asyncio.Protocol):
    """Takes over a connection that redis-py has opened.

    Args:
        connection: connected, and nobody else's.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        writer: asyncio.StreamWriter | None = connection._writer  # noqa: SLF001 - redis-py has no public name for it
        if writer is None:
            raise RedisConnectionError("the connection was closed before it was used")
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", writer.transport)
        # redis-py's own protocol still has to learn of the end, or closing the connection would wait for it for ever.
        self._redis_py = cast("asyncio.Protocol", self._transport.get_protocol())
        self._reader = hiredis.Reader(replyError=_error, notEnoughData=_INCOMPLETE)
        self._waiting: deque[_RoundTrip] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._end: Exception | None = None
        self._transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Tell whether commands can be sent."""
        return self._end is None and not self._transport.is_closing()

    def send(self, packed: bytes, count: int, *, seconds: float) -> asyncio.Future[list[Any]]:
        """Send ``count`` packed commands; the result are their replies, an error reply as its exception.

        The result is an error of redis-py's when the connection ends, or when the replies are not there after ``seconds``,
        which ends it: the fate of all commands is then unknown. ``seconds`` is the same for all of a connection.
        """
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.is_open:
            self._waiting.append(_RoundTrip(future, count, self._loop.time() + seconds))
            if self._timer is None:
                self._timer = self._loop.call_later(seconds, self._look_at_the_oldest)
            self._transport.write(packed)
        else:
            future.set_exception(self._end or RedisConnectionError("the connection is closed"))
        return future

    def _look_at_the_oldest(self) -> None:
        """End a connection whose oldest round trip takes too long: one timer for all of them, since they end in order."""
        self._timer = None
        if self._waiting:
            remaining = self._waiting[0].deadline - self._loop.time()
            # The loop's clock has steps of a millisecond.
            if remaining > 0.001:
                self._timer = self._loop.call_later(remaining, self._look_at_the_oldest)
            else:
                self._end_with(RedisTimeoutError("Redis did not answer in time"))

    def _end_with(self, error: Exception) -> None:
        """Close the connection at once; whoever waits gets the error."""
        if self._end is None:
            self._end = error
            self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, deque()
        for trip in waiting:
            if not trip.future.done():
                trip.future.set_exception(error)

    def data_received(self, data: bytes) -> None:
        """Hand replies to those who wait for them; asyncio calls this."""
        try:
            self._reader.feed(data)
            reply = self._reader.gets()
            while reply is not _INCOMPLETE:
                trip = self._waiting[0]
                trip.replies.append(reply)
                if len(trip.replies) == trip.count:
                    self._waiting.popleft()
                    if not trip.future.done():
                        trip.future.set_result(trip.replies)
                reply = self._reader.gets()
        except (hiredis.HiredisError, IndexError) as error:
            # Not RESP, or an answer to nothing: from here on no reply can be trusted to be whose it seems.
            self._end_with(RedisConnectionError(f"Redis sent what cannot be read: {type(error).__name__}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end; asyncio calls this."""
        self._end_with(RedisConnectionError("Redis closed the connection" if exc is None else str(exc)))
        self._redis_py.connection_lost(exc)
