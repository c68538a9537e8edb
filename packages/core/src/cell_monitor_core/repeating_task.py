"""Background tasks that repeat one step for as long as their process runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import structlog

__all__ = ["RepeatingTask"]

_log = structlog.get_logger(__name__)


class RepeatingTask:
    """Repeats a step: an error of one repetition is logged and counted, and the next one comes all the same.

    Use it as an async context manager, by ``start`` and ``aclose``, or run ``run`` in a task of your own.

    Args:
        name: of the task, and in the log.
        step: what is repeated. It returns the seconds until the next repetition, or None for ``interval_s``.
        interval_s: seconds between the end of a repetition and the next one; also after an error.
        first_after_s: seconds before the first one.
        on_error: called for each error, such as the increment of a counter.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], Awaitable[float | None]],
        *,
        interval_s: float,
        first_after_s: float = 0.0,
        on_error: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self._step = step
        self._interval_s = interval_s
        self._first_after_s = first_after_s
        self._on_error = on_error
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self.run(), name=self.name)

    def stop(self) -> None:
        """Let ``run`` return after the repetition that it is at. Call it before a task that runs it is cancelled."""
        # A command of redis-py may end with its result although its task was cancelled, and the cancellation is gone then.
        self._ending.set()

    async def aclose(self) -> None:
        """End what ``start`` began."""
        self.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def run(self) -> None:
        """Repeat until ``stop`` or cancellation."""
        pause = self._first_after_s
        while not self._ending.is_set():
            await asyncio.sleep(pause)
            if self._ending.is_set():
                return
            pause = await self._repeat()

    async def _repeat(self) -> float:
        try:
            pause = await self._step()
        except Exception:  # noqa: BLE001 - logged and counted; whatever failed, the process depends on the next repetition
            _log.exception("background_task_failed", task=self.name)
            if self._on_error is not None:
                self._on_error()
            return self._interval_s
        return self._interval_s if pause is None else pause
