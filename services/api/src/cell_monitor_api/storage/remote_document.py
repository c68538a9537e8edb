"""A document of another server that is kept for a while, as what a provider says of itself."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

__all__ = ["RemoteDocument"]

_FRESH_S: Final = 3600.0
"""For so long the document is used without asking again."""
_USABLE_S: Final = 86_400.0
"""For so long it is used while the server does not answer."""
_RETRY_S: Final = 2.0
"""Between two requests, whatever asks for the document."""
_Value = TypeVar("_Value")


class RemoteDocument(Generic[_Value]):
    """Reads a document when it is needed, once at a time.

    Args:
        read: returns the document; raises ``silence`` if the server does not answer as it should.
        silence: the error that lets an older document be used.
        clock: seconds from any moment on.
    """

    def __init__(
        self, read: Callable[[], Awaitable[_Value]], silence: type[Exception], clock: Callable[[], float]
    ) -> None:
        self._read = read
        self._silence = silence
        self._clock = clock
        self._lock = asyncio.Lock()
        self._value: _Value | None = None
        self._read_at = self._tried_at = -math.inf
        self._error: Exception | None = None

    async def get(self, *, again: bool = False) -> _Value:
        """Return the document, at most an hour old, or a day while the server does not answer.

        Args:
            again: whether it is to be read now, unless that was tried in the last two seconds.

        Raises:
            Exception: the error that ``silence`` names, where there is no document that can be used.
        """
        async with self._lock:
            now = self._clock()
            stale = self._value is None or now - self._read_at >= _FRESH_S
            if (stale or again) and now - self._tried_at >= _RETRY_S:
                await self._try()
            if self._value is not None and now - self._read_at < _USABLE_S:
                return self._value
            assert self._error is not None
            raise self._error

    async def _try(self) -> None:
        try:
            self._value = await self._read()
            self._read_at = self._tried_at = self._clock()
        except self._silence as error:
            self._error, self._tried_at = error, self._clock()
