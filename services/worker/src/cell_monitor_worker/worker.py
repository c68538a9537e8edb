"""The worker process: health server, consumers, periodic tasks, graceful shutdown at SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
import uvicorn

from cell_monitor_core.repeating_task import RepeatingTask
from cell_monitor_core.runtime import LoopWatchdog, tune_gc
from cell_monitor_core.storage.ports import LogUnavailable, StoreUnavailable
from cell_monitor_core.storage.postgres.migrations import check_schema
from cell_monitor_core.telemetry.metrics import EVENT_LOOP_LAG_SECONDS
from cell_monitor_core.telemetry.tracing import configure_tracing, shutdown_tracing
from cell_monitor_core.web.health import Health, create_health_app
from cell_monitor_worker import maintenance
from cell_monitor_worker.config import WorkerSettings
from cell_monitor_worker.context import WorkerContext
from cell_monitor_worker.exceptions import GroupHaltedError

__all__ = ["EXIT_HALTED", "Worker"]

_log = structlog.get_logger(__name__)

EXIT_HALTED: Final = 3
"""Exit status after too large a share of the events failed."""
_EXIT_BROKEN: Final = 1
_RETRY_S: Final = 1.0
_STOP_DEADLINE_S: Final = 12.0
_CANCEL_S: Final = 1.0
_EXIT_DEADLINE_S: Final = 18.0


class _HealthServer(uvicorn.Server):
    """uvicorn without signal handlers; the worker installs its own."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
        yield


def _exit_after(seconds: float) -> None:
    """Exit after ``seconds`` even if a task hangs. Unacknowledged entries stay pending, so none is lost."""

    def force_exit() -> None:
        _log.warning("forced_exit", seconds=seconds)
        os._exit(0)

    timer = threading.Timer(seconds, force_exit)
    timer.daemon = True
    timer.start()


class Worker:
    """One worker process."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._context: WorkerContext | None = None
        self._starting = "the stores have not answered yet"
        self.health = Health(
            {"postgresql": self._check_postgresql, "redis": self._check_redis, "groups": self._check_groups}
        )

    def stop(self) -> None:
        """Begin the graceful shutdown."""
        if not self._stopping.is_set():
            _log.info("worker_stopping")
            _exit_after(_EXIT_DEADLINE_S)
        self.health.drain()
        self._stopping.set()

    async def run(self) -> int:
        """Run until SIGTERM, SIGINT or SIGHUP; return the exit status.

        Raises:
            SchemaMismatch: PostgreSQL has another schema than this program.
            OSError: the port of the probes is in use.
        """
        loop = asyncio.get_running_loop()
        # SIGHUP: the end of a terminal, or an operator who expects a reload; a restart reads the settings again.
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(signum, self.stop)
        configure_tracing(self._settings, "worker")
        server = self._server()
        serving = asyncio.create_task(server.serve(), name="health")
        try:
            while not server.started:
                if serving.done():
                    await serving
                    raise OSError(f"cannot listen on {self._settings.worker_host}:{self._settings.worker_port}")
                await asyncio.sleep(0.01)
            async with LoopWatchdog(EVENT_LOOP_LAG_SECONDS.observe):
                return await self._work()
        finally:
            server.should_exit = True
            await serving
            await asyncio.to_thread(shutdown_tracing)

    def _server(self) -> _HealthServer:
        return _HealthServer(
            uvicorn.Config(
                create_health_app(self.health),
                host=self._settings.worker_host,
                port=self._settings.worker_port,
                loop="none",
                http="httptools",
                ws="none",
                lifespan="off",
                proxy_headers=False,
                server_header=False,
                access_log=False,
                log_config=None,
                log_level="warning",
                timeout_graceful_shutdown=2,
            )
        )

    async def _work(self) -> int:
        context = await self._until_stopping(self._open)
        if context is None:
            return 0
        self._context = context
        try:
            tune_gc()
            _log.info(
                "worker_started",
                instance=self._settings.instance,
                groups=self._settings.groups,
                partitions=self._settings.partitions,
            )
            return await self._consume(context)
        finally:
            self._context = None
            self._starting = "shutting down"
            await context.aclose()
            _log.info("worker_stopped")

    async def _open(self) -> WorkerContext:
        context = await WorkerContext.open(self._settings)
        try:
            await check_schema(context.pool)
            await context.log.ensure_groups()
        except BaseException:
            await context.aclose()
            raise
        return context

    async def _until_stopping(self, attempt: Callable[[], Awaitable[WorkerContext]]) -> WorkerContext | None:
        """Repeat ``attempt`` until the stores are available; return None if the process stops before."""
        while not self._stopping.is_set():
            try:
                return await attempt()
            except (StoreUnavailable, LogUnavailable) as error:
                self._starting = str(error)
                _log.warning("worker_waits_for_stores", reason=str(error))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RETRY_S):
                        await self._stopping.wait()
        return None

    async def _consume(self, context: WorkerContext) -> int:
        consumers = {
            asyncio.create_task(consumer.run(), name=consumer.group): consumer for consumer in context.consumers
        }
        repeating = self._maintenance(context)
        chores = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("courses", context.courses.run()),
                ("courses-missed", context.courses.look_for_missed()),
                ("watermarks", context.watermarks.run()),
                *((task.name, task.run()) for task in repeating),
            )
        ]
        stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
        status = 0
        try:
            await asyncio.wait([stopping, *consumers, *chores], return_when=asyncio.FIRST_COMPLETED)
            status = await self._exit_status([*consumers, *chores])
        finally:
            self.health.drain()
            for consumer in consumers.values():
                consumer.stop()
            for each in repeating:
                each.stop()
            await self._end(list(consumers), chores, context)
            stopping.cancel()
        return status

    def _maintenance(self, context: WorkerContext) -> list[RepeatingTask]:
        """Return the periodic tasks: an error in one of them does not end the worker."""
        settings = self._settings
        every = maintenance.every
        return [
            every("help-outbox", maintenance.HELP_OUTBOX_INTERVAL_S, context.help_outbox.publish),
            every("help-expiry", maintenance.HELP_EXPIRY_INTERVAL_S, context.help_expiry.run, retry_s=5.0),
            every("opaque-events", maintenance.OPAQUE_EVENTS_INTERVAL_S, context.opaque_events.run, retry_s=5.0),
            every(
                "trim",
                settings.worker_trim_interval_s,
                lambda: maintenance.trim_streams(context.log, settings.partitions),
            ),
            every(
                "backlog",
                settings.worker_lag_interval_s,
                lambda: maintenance.measure_backlog(context.log, settings.partitions, settings.groups),
            ),
            every(
                "partitions",
                maintenance.PARTITIONS_INTERVAL_S,
                lambda: maintenance.make_partitions(context.pool),
                retry_s=60.0,
            ),
            every(
                "audit",
                maintenance.AUDIT_INTERVAL_S,
                lambda: maintenance.delete_old_audit_entries(context.pool, settings.worker_audit_days),
                retry_s=60.0,
            ),
        ]

    async def _exit_status(self, tasks: list[asyncio.Task[None]]) -> int:
        """Map the finished task to an exit status; wait ``worker_halt_hold_s`` after a halt."""
        for task in tasks:
            if not task.done() or task.cancelled():
                continue
            error = task.exception()
            if isinstance(error, GroupHaltedError):
                _log.critical(
                    "group_halted",
                    group=error.group,
                    reason=error.reason,
                    help="The worker stopped reading the stream; no event is lost. Correct the cause (a bug of this "
                    "version, a schema, a store), then start the worker again. Events in failed_events are queued again "
                    "on the page Failed events or with: cell-monitor admin replay-failed-events",
                )
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.worker_halt_hold_s):
                        await self._stopping.wait()
                return EXIT_HALTED
            _log.critical("task_failed", task=task.get_name(), exc_info=error)
            return _EXIT_BROKEN
        return 0

    async def _end(
        self, consumers: list[asyncio.Task[None]], chores: list[asyncio.Task[None]], context: WorkerContext
    ) -> None:
        """Finish and acknowledge the current batches, and publish the counters that are due."""
        _, late = await asyncio.wait(consumers, timeout=_STOP_DEADLINE_S)
        for task in (*late, *chores):
            task.cancel()
        # Cancelling a query needs another connection to PostgreSQL, which may hang as the query did.
        _, stuck = await asyncio.wait([*consumers, *chores], timeout=_CANCEL_S)
        if stuck:
            _log.warning("tasks_stuck", tasks=sorted(task.get_name() for task in stuck))
        if late:
            _log.warning("batches_abandoned", groups=[task.get_name() for task in late])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await context.courses.flush()

    async def _check_postgresql(self) -> None:
        await self._opened().probe.check()

    async def _check_redis(self) -> None:
        await self._opened().fitness.check()

    def _opened(self) -> WorkerContext:
        if self._context is None:
            raise StoreUnavailable(self._starting)
        return self._context

    async def _check_groups(self) -> None:
        if self._context is not None:
            for consumer in self._context.consumers:
                if consumer.halted is not None:
                    raise GroupHaltedError(consumer.group, consumer.halted)
