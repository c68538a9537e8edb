"""Set-up of the Python interpreter in each service: garbage collection, C parsers, a watchdog of the event loop."""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import structlog

__all__ = ["LoopWatchdog", "SlowPathError", "require_fast_path", "tune_gc"]

_log = structlog.get_logger(__name__)

_FAST_MODULES: Final = {
    "uvloop": "uvloop",
    "httptools": "httptools",
    "hiredis": "hiredis",
    "msgspec": "msgspec._core",
}


class SlowPathError(RuntimeError):
    """A C extension is missing. Without it the service would run at a third of its speed."""


def tune_gc() -> None:
    """Reduce the frequency of garbage collection. Call it once at start, after imports and warm-up.

    Objects that exist now are frozen: they live as long as the process, and full collections do not scan them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 1_000)


def require_fast_path() -> None:
    """Check that uvloop and the C parsers of HTTP, RESP and JSON can be imported.

    Raises:
        SlowPathError: one is missing; the message names each.
    """
    missing = []
    for package, module in _FAST_MODULES.items():
        try:
            importlib.import_module(module)
        except ImportError:
            missing.append(package)
    if missing:
        raise SlowPathError(f"not installed with its C extension: {', '.join(missing)}; install it from a wheel")


class LoopWatchdog:
    """Measures the lag of the event loop and logs the stack of a call that blocks it.

    Use it as an async context manager around the life of the process.

    Args:
        observe: called with the lag in seconds, once per probe.
        interval: seconds between two probes.
        stall_seconds: a longer lag is logged and counted as a stall.
    """

    def __init__(self, observe: Callable[[float], None], *, interval: float = 0.25, stall_seconds: float = 5.0) -> None:
        self._observe = observe
        self._interval = interval
        self._stall = stall_seconds
        self._beat = time.monotonic()
        self._stopped = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self.stalls = 0

    async def __aenter__(self) -> Self:
        self._beat = time.monotonic()
        self._task = asyncio.create_task(self._probe(), name="loop-watchdog")
        self._thread = threading.Thread(
            target=self._watch, args=(threading.get_ident(),), name="loop-watchdog", daemon=True
        )
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._thread is not None:
            self._thread.join()

    async def _probe(self) -> None:
        while True:
            due = time.perf_counter() + self._interval
            await asyncio.sleep(self._interval)
            self._beat = time.monotonic()
            self._observe(max(0.0, time.perf_counter() - due))

    def _watch(self, loop_thread: int) -> None:
        # prometheus_client reads PROMETHEUS_MULTIPROC_DIR at import, and this module is imported before it is set.
        from cell_monitor_core.telemetry.metrics import EVENT_LOOP_STALLS  # noqa: PLC0415

        reported = 0.0
        while not self._stopped.wait(min(1.0, self._stall / 2)):
            beat = self._beat
            late = time.monotonic() - beat
            if late < self._stall or beat == reported:
                continue
            reported = beat
            self.stalls += 1
            EVENT_LOOP_STALLS.inc()
            frame = sys._current_frames().get(loop_thread)  # noqa: SLF001
            stack = traceback.extract_stack(frame)[-8:] if frame is not None else []
            _log.error(
                "event_loop_stalled",
                seconds=round(late, 1),
                blocked_at=[f"{entry.filename}:{entry.lineno} {entry.name}" for entry in stack],
            )
