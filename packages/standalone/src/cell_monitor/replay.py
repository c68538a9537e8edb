"""Queues failed events again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from cell_monitor_core import keys
from cell_monitor_core.channels import course_channel, partition_of, test_channel
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.records import ENTRY_VERSION, StreamRecord, encode_records
from cell_monitor_core.redis_client import REDIS_ERRORS, aclose, connect, run_command
from cell_monitor_core.settings import CoreSettings
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres import failed_events
from cell_monitor_core.storage.postgres.pool import connect as connect_postgres

__all__ = ["Replayed", "replay_failed_events"]

_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many events were queued again, and how many entries cannot be read at all."""

    replayed: int
    unreadable: int


async def replay_failed_events(settings: CoreSettings, *, consumer_group: str | None = None) -> Replayed:
    """Queue what failed once more; marked only when it is queued, so being cut off loses nothing.

    It goes straight to the stream: the log's own memory of recent ids would take the events for duplicates. Both
    consumer groups read it again, and both know an event by its id.

    Args:
        settings: addresses and keys.
        consumer_group: only what failed in this group.

    Raises:
        StoreUnavailable: a store is away; what was queued until then is marked.
    """
    assert settings.database_url is not None
    keyring = KeyRing.from_settings(settings)
    postgres = await connect_postgres(settings.database_url, application_name="cell-monitor-replay")
    redis = connect(settings.redis_url.get_secret_value(), name="cell-monitor-replay")
    replayed = unreadable = after = 0
    try:
        while page := await failed_events.records_to_replay(
            postgres, keyring, after=after, limit=_PAGE, consumer_group=consumer_group
        ):
            after = page[-1][0].failed_id
            done: list[int] = []
            for failed, payload in page:
                partition = _partition(payload, settings.partitions) if failed.record_index >= 0 else None
                if partition is None:
                    unreadable += 1
                    continue
                # Each in an entry of its own: should it fail again, it takes no other with it.
                stream = keys.events_stream(partition)
                await run_command(
                    redis, stream, "XADD", stream, "*", "v", ENTRY_VERSION, "b", encode_records([payload])
                )
                done.append(failed.failed_id)
            replayed += await failed_events.mark_replayed(postgres, done)
    except REDIS_ERRORS as error:
        raise StoreUnavailable(f"Redis is away: {error}") from error
    finally:
        await postgres.close()
        await aclose(redis)
    return Replayed(replayed, unreadable)


def _partition(payload: bytes, partitions: int) -> int | None:
    try:
        record = msgspec.msgpack.decode(payload, type=StreamRecord)
    except msgspec.DecodeError:
        return None
    channel = test_channel(record.test_id) if record.test_id is not None else course_channel(record.course_id)
    return partition_of(channel, partitions)
