"""Replay of failed events: they are queued again after the cause has been corrected."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import asyncpg
import msgspec
from pydantic import SecretStr

from cell_monitor_core.channels import course_channel, test_channel
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.records import EntryError, StreamRecord, decode_entry, encode_record
from cell_monitor_core.redis_client import aclose, connect
from cell_monitor_core.settings import CoreSettings
from cell_monitor_core.storage.ports import EventProducer
from cell_monitor_core.storage.postgres import failed_events
from cell_monitor_core.storage.postgres.failed_events import WHOLE_ENTRY, FailedEvent
from cell_monitor_core.storage.postgres.migrations import check_schema
from cell_monitor_core.storage.postgres.pool import close_pool, create_pool, store_errors
from cell_monitor_core.streams.producer import RedisEventProducer

__all__ = ["ReplayReport", "replay", "replay_failed"]

_PAGE: Final = 100

_record_decoder = msgspec.msgpack.Decoder(StreamRecord)
_fields_decoder = msgspec.msgpack.Decoder(dict[bytes, bytes])


@dataclass(slots=True)
class ReplayReport:
    """The result of a replay.

    Attributes:
        replayed: failed records queued again and marked, each once for all groups in which it failed.
        events: events in these records.
        unreadable: failed records that cannot be decoded; they are unchanged.
    """

    replayed: int = 0
    events: int = 0
    unreadable: int = 0


async def replay(
    settings: CoreSettings,
    database_url: str | SecretStr,
    *,
    consumer_group: str | None = None,
    limit: int | None = None,
) -> ReplayReport:
    """Connect to an installation's stores and replay failed events; see ``replay_failed``.

    Raises:
        SchemaMismatch: the database has another version's schema.
        SettingsError: the key ring is malformed.
        LogUnavailable, StoreUnavailable: see ``replay_failed``.
    """
    keyring = KeyRing.from_settings(settings)
    async with AsyncExitStack() as exits:
        pool = await create_pool(database_url, application_name="cell-monitor-replay", max_size=2)
        exits.push_async_callback(close_pool, pool)
        redis = connect(settings.redis_url.get_secret_value(), name="cell-monitor-replay")
        exits.push_async_callback(aclose, redis)
        producer = RedisEventProducer(redis, partitions=settings.partitions)
        exits.push_async_callback(producer.aclose)
        await check_schema(pool)
        return await replay_failed(pool, keyring, producer, consumer_group=consumer_group, limit=limit)


async def replay_failed(
    pool: asyncpg.Pool[asyncpg.Record],
    keyring: KeyRing,
    producer: EventProducer,
    *,
    consumer_group: str | None = None,
    limit: int | None = None,
) -> ReplayReport:
    """Queue the failed records that are waiting now, oldest first, and mark them replayed.

    Both groups process them again; for a group that has stored them they are duplicates. A record that failed in both
    groups is queued once, since otherwise one that cannot be stored would double with each replay. A record that fails again
    gets a new row in ``failed_events``, which is for the next replay: a fast worker would otherwise keep this one going.

    Args:
        pool: connections to PostgreSQL.
        keyring: decrypts the records.
        producer: writes the streams.
        consumer_group: replay only records that failed in this group.
        limit: maximum number of records.

    Raises:
        LogUnavailable: the log accepts no more records; those that were queued are marked, the others are unchanged.
        StoreUnavailable: PostgreSQL is unavailable; what was queued but not marked will be queued again, which is harmless.
    """
    report = ReplayReport()
    with store_errors():
        newest = await failed_events.newest_waiting(pool)
    queued: set[tuple[int, str, int]] = set()
    after = 0
    while limit is None or report.replayed < limit:
        size = _PAGE if limit is None else min(_PAGE, limit - report.replayed)
        with store_errors():
            page = await failed_events.records_to_replay(
                pool, keyring, after=after, newest=newest, limit=size, consumer_group=consumer_group
            )
        if not page:
            break
        for failed, payload in page:
            after = failed.failed_id
            place = (failed.partition, failed.entry_id, failed.record_index)
            if place in queued:
                continue
            try:
                records = _records(failed, payload)
            except (EntryError, msgspec.DecodeError):
                report.unreadable += 1
                continue
            for record in records:
                test_id = record.test_id
                channel = course_channel(record.course_id) if test_id is None else test_channel(test_id)
                # With a new deduplication key: with the event's own it could be a duplicate of the one that failed.
                await producer.append(channel, [(uuid.uuid4().bytes, encode_record(record))])
            with store_errors():
                await failed_events.mark_replayed(pool, [failed.failed_id])
            queued.add(place)
            report.replayed += 1
            report.events += len(records)
    return report


def _records(failed: FailedEvent, payload: bytes) -> list[StreamRecord]:
    if failed.record_index == WHOLE_ENTRY:
        return decode_entry(_fields_decoder.decode(payload))
    return [_record_decoder.decode(payload)]
