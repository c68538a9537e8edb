"""The objects of a worker process and their life cycle."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Self

import asyncpg

from cell_monitor_core import keys
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.broker.watermarks import RedisWatermarks
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.publishing import Publisher
from cell_monitor_core.redis_client import aclose, connect
from cell_monitor_core.storage.postgres import failed_events
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.failed_events import FailedRecord
from cell_monitor_core.storage.postgres.pool import close_pool, create_pool, store_errors
from cell_monitor_core.storage.postgres.probe import PostgresProbe
from cell_monitor_core.storage.timeseries import create_time_series
from cell_monitor_core.streams.consumer import RedisEventConsumer
from cell_monitor_core.streams.fitness import RedisFitness
from cell_monitor_worker.batch_publisher import BatchPublisher
from cell_monitor_worker.batches import BatchQueue, Sink
from cell_monitor_worker.config import WorkerSettings
from cell_monitor_worker.consumer import GroupConsumer
from cell_monitor_worker.course_publisher import CoursePublisher
from cell_monitor_worker.help_expiry import HelpExpiry
from cell_monitor_worker.help_outbox import HelpOutbox
from cell_monitor_worker.opaque_events import OpaqueEvents
from cell_monitor_worker.owners import StoredOwners
from cell_monitor_worker.session_receipts import SessionReceipts, stored_receipts
from cell_monitor_worker.sinks.facts import FactSink
from cell_monitor_worker.sinks.time_series import TimeSeriesSink
from cell_monitor_worker.test_progress import TestProgress
from cell_monitor_worker.watermarks import WatermarkPublisher

__all__ = ["StoredFailures", "WorkerContext"]


class StoredFailures:
    """The table ``failed_events`` of PostgreSQL."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], keyring: KeyRing) -> None:
        self._pool = pool
        self._keyring = keyring

    async def insert(self, records: Sequence[FailedRecord]) -> int:
        """Store failed records; see ``failed_events.insert``.

        Raises:
            StoreUnavailable: PostgreSQL is unavailable.
        """
        with store_errors():
            return await failed_events.insert(self._pool, self._keyring, records)


class WorkerContext:
    """The connections and consumers of the process, open until ``aclose``."""

    def __init__(
        self,
        settings: WorkerSettings,
        pool: asyncpg.Pool[asyncpg.Record],
        probe: PostgresProbe,
        fitness: RedisFitness,
        log: RedisEventConsumer,
        courses: CoursePublisher,
        help_outbox: HelpOutbox,
        help_expiry: HelpExpiry,
        opaque_events: OpaqueEvents,
        watermarks: WatermarkPublisher,
        consumers: list[GroupConsumer],
        exits: AsyncExitStack,
    ) -> None:
        self.settings = settings
        self.pool = pool
        self.probe = probe
        self.fitness = fitness
        self.log = log
        self.courses = courses
        self.help_outbox = help_outbox
        self.help_expiry = help_expiry
        self.opaque_events = opaque_events
        self.watermarks = watermarks
        self.consumers = consumers
        self._exits = exits

    @classmethod
    async def open(cls, settings: WorkerSettings) -> Self:
        """Connect to the stores and create the consumers.

        Raises:
            StoreUnavailable: PostgreSQL is unavailable.
            SettingsError: the key ring is malformed.
        """
        assert settings.database_url is not None
        keyring = KeyRing.from_settings(settings)
        url = settings.redis_url.get_secret_value()
        async with AsyncExitStack() as exits:
            pool = await create_pool(
                settings.database_url,
                application_name=f"cell-monitor-worker-{settings.instance}",
                min_size=2,
                max_size=settings.worker_database_connections,
            )
            exits.push_async_callback(close_pool, pool)
            probe = PostgresProbe(pool)
            exits.push_async_callback(probe.aclose)
            redis = connect(url, name=f"worker-{settings.instance}")
            exits.push_async_callback(aclose, redis)
            blocking = connect(url, name=f"worker-reads-{settings.instance}", blocking=True)
            exits.push_async_callback(aclose, blocking)
            log = RedisEventConsumer(redis, blocking, partitions=settings.partitions)
            publisher = Publisher(RedisBroker(redis, partitions=settings.partitions))
            courses = CoursePublisher(pool, publisher, interval=settings.worker_course_interval_s)
            progress = TestProgress(redis, partitions=settings.partitions)
            owners = StoredOwners(pool)
            sinks: list[Sink] = []
            series = None
            if keys.GROUP_POSTGRES in settings.groups:
                store = PostgresFactStore(pool, keyring)
                sinks.append(FactSink(store, BatchPublisher(publisher), courses, progress, owners))
            if keys.GROUP_TIMESERIES in settings.groups:
                series = await create_time_series(settings, pool)
                exits.push_async_callback(series.close)
                sinks.append(TimeSeriesSink(series, progress, owners, SessionReceipts(stored_receipts(pool))))
            failures = StoredFailures(pool, keyring)
            watermarks = WatermarkPublisher(RedisWatermarks(redis), partitions=settings.partitions)
            consumers = [
                GroupConsumer(
                    sink.group,
                    log,
                    BatchQueue(
                        sink,
                        concurrency=settings.worker_concurrency,
                        batch_events=settings.worker_batch_events,
                        # Points are not urgent, unlike the rows for dashboards, and each write costs a request.
                        linger_s=settings.worker_series_linger_s if sink.group == keys.GROUP_TIMESERIES else 0.0,
                    ),
                    failures,
                    settings,
                    partitions=settings.partitions,
                    watermarks=watermarks if sink.group == keys.GROUP_POSTGRES else None,
                )
                for sink in sinks
            ]
            help_outbox = HelpOutbox(pool, keyring, publisher, courses)
            opaque = OpaqueEvents(
                pool, keyring, publisher if keys.GROUP_POSTGRES in settings.groups else None, courses, series
            )
            expiry = HelpExpiry(pool, keyring, log, range(settings.partitions))
            return cls(
                settings,
                pool,
                probe,
                RedisFitness(redis),
                log,
                courses,
                help_outbox,
                expiry,
                opaque,
                watermarks,
                consumers,
                exits.pop_all(),
            )
        raise AssertionError  # pragma: no cover - the block returns or raises

    async def aclose(self) -> None:
        """Close all connections."""
        await self._exits.aclose()
