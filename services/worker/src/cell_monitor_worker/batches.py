"""Group commit: jobs of all partitions are combined into batches for the store."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.telemetry.metrics import BATCH_EVENTS, COMMIT_SECONDS, STORE_UNAVAILABLE
from cell_monitor_worker.exceptions import StoppingError
from cell_monitor_worker.failures import RecordFailure

__all__ = ["BatchQueue", "Sink"]

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0
_TRIES_WHILE_STOPPING: Final = 3


class Sink(Protocol):
    """Processes the records of one consumer group."""

    group: str

    async def process(self, records: Sequence[StreamRecord]) -> list[RecordFailure]:
        """Store records and their consequences. It must be idempotent.

        Returns:
            The records that can never be processed; all others have been.

        Raises:
            StoreUnavailable: all records must be processed again.
        """
        ...


@dataclass(slots=True)
class _Job:
    records: Sequence[StreamRecord]
    done: asyncio.Future[list[RecordFailure]]
    isolate: bool


class BatchQueue:
    """Jobs of several partitions, combined into batches that a few tasks process concurrently.

    Args:
        sink: processes the batches.
        concurrency: number of batches that are processed at the same time.
        batch_events: maximum number of records in a batch; a job is never split.
        linger_s: seconds that the first job waits for further jobs, for stores where a write costs more than the delay.
    """

    def __init__(self, sink: Sink, *, concurrency: int, batch_events: int, linger_s: float = 0.0) -> None:
        self._sink = sink
        self._linger_s = linger_s
        self._concurrency = concurrency
        self._batch_events = batch_events
        self._jobs: deque[_Job] = deque()
        self._waiting = asyncio.Event()
        self._stopping = asyncio.Event()
        self._closed = False
        self.unavailable_since: float | None = None
        self._commit_seconds = COMMIT_SECONDS.labels(sink.group)
        self._batch_size = BATCH_EVENTS.labels(sink.group)
        self._unavailable = STORE_UNAVAILABLE.labels(sink.group)

    async def submit(self, records: Sequence[StreamRecord], *, isolate: bool = False) -> list[RecordFailure]:
        """Process records and return those that failed.

        Args:
            records: the records of one read.
            isolate: process them in a batch of their own.

        Raises:
            StoppingError: the process is stopping and the store is unavailable, or the queue is closed.
        """
        if self._closed:
            raise StoppingError("the batch queue is closed")
        job = _Job(records, asyncio.get_running_loop().create_future(), isolate)
        self._jobs.append(job)
        self._waiting.set()
        return await job.done

    def stop(self) -> None:
        """Finish the queued jobs if the store is available, but do not wait for an unavailable one."""
        self._stopping.set()

    async def run(self) -> None:
        """Process jobs until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(self._concurrency):
                    tasks.create_task(self._process_jobs(), name=f"{self._sink.group}-batches-{number}")
        finally:
            self._closed = True
            while self._jobs:
                job = self._jobs.popleft()
                if not job.done.done():
                    job.done.set_exception(StoppingError("the batch queue is closed"))

    async def _process_jobs(self) -> None:
        while True:
            if not self._jobs:
                self._waiting.clear()
                await self._waiting.wait()
                if self._linger_s and not self._stopping.is_set():
                    await self._pause(self._linger_s)
                continue
            jobs = self._take()
            try:
                await self._work(jobs)
            except BaseException as error:
                for job in jobs:
                    if not job.done.done():
                        job.done.set_exception(
                            error if isinstance(error, Exception) else StoppingError("the process is stopping")
                        )
                if not isinstance(error, StoppingError):
                    raise

    def _take(self) -> list[_Job]:
        jobs = [self._jobs.popleft()]
        size = len(jobs[0].records)
        while (
            self._jobs
            and not jobs[0].isolate
            and not self._jobs[0].isolate
            and size + len(self._jobs[0].records) <= self._batch_events
        ):
            jobs.append(self._jobs.popleft())
            size += len(jobs[-1].records)
        return jobs

    async def _work(self, jobs: list[_Job]) -> None:
        records = jobs[0].records if len(jobs) == 1 else [record for job in jobs for record in job.records]
        self._batch_size.observe(len(records))
        failures = await self._process(records)
        start = 0
        for job in jobs:
            end = start + len(job.records)
            own = [
                RecordFailure(failure.index - start, failure.reason, failure.detail)
                for failure in failures
                if start <= failure.index < end
            ]
            start = end
            if not job.done.done():
                job.done.set_result(own)

    async def _process(self, records: Sequence[StreamRecord]) -> list[RecordFailure]:
        """Process records, and repeat it while the store is unavailable. Nothing is acknowledged before, so none is lost."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE_S
        tries_left = _TRIES_WHILE_STOPPING
        while True:
            began = loop.time()
            try:
                failures = await self._sink.process(records)
            except StoreUnavailable as error:
                self._unavailable.inc()
                if self.unavailable_since is None:
                    self.unavailable_since = began
                    _log.warning("store_unavailable", group=self._sink.group, reason=str(error))
                if self._stopping.is_set():
                    tries_left -= 1
                    if tries_left <= 0:
                        raise StoppingError(str(error)) from error
                    pause = _FIRST_PAUSE_S
                await self._pause(pause * (0.5 + random.random()))  # noqa: S311 - jitter
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            else:
                self._commit_seconds.observe(loop.time() - began)
                if self.unavailable_since is not None:
                    _log.info(
                        "store_available", group=self._sink.group, seconds=round(began - self.unavailable_since, 1)
                    )
                    self.unavailable_since = None
                return failures

    async def _pause(self, seconds: float) -> None:
        """Sleep; return early when the process begins to stop."""
        if self._stopping.is_set():
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass
