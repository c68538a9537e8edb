"""Taking records out of stream entries that hold others' records as well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from cell_monitor_core import keys
from cell_monitor_core.records import (
    ENTRY_VERSION,
    EntryError,
    StreamRecord,
    decode_entry,
    encode_record,
    encode_records,
)
from cell_monitor_core.redis_client import REDIS_ERRORS, RedisClient, Script, reason_of, run_command, run_script
from cell_monitor_core.storage.ports import StoreUnavailable

__all__ = ["take_out", "wait_for_consumers"]

_PAGE: Final = 200
_POLL_S: Final = 0.1

_REPLACE: Final = Script("""\
-- KEYS: stream. ARGV: entry, payload of the records that stay or ''
-- Answers 1 if the entry was there. Both groups get the new entry; for the one that had finished the old one its
-- records are duplicates.
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
if ARGV[2] ~= '' then redis.call('XADD', KEYS[1], '*', 'v', ARGV[3], 'b', ARGV[2]) end
return 1
""")

_NEWEST: Final = Script("""\
-- KEYS: stream. Answers the newest id that it gave out, also to an entry that was deleted; '' if there is no stream.
if redis.call('EXISTS', KEYS[1]) == 0 then return '' end
local fields = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #fields, 2 do
  if fields[i] == 'last-generated-id' then return fields[i + 1] end
end
""")

_PENDING: Final = Script("""\
-- KEYS: stream. ARGV: group, id. Answers 1 if the group has an unacknowledged entry up to the id, else 0.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for _, fields in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  for i = 1, #fields, 2 do
    if fields[i] == 'name' and fields[i + 1] == ARGV[1] then
      return #redis.call('XPENDING', KEYS[1], ARGV[1], '-', ARGV[2], 1)
    end
  end
end
return 0
""")


async def take_out(client: RedisClient, partitions: Iterable[int], belongs: Callable[[StreamRecord], bool]) -> int:
    """Replace the entries that hold records to be erased by entries with their other records; return how many.

    A consumer that was given one of them may still be working on it: see ``wait_for_consumers``.

    Args:
        client: Redis.
        partitions: whose streams.
        belongs: whether a record is to be erased. An entry that cannot be read is left: it goes to ``failed_events``.

    Raises:
        StoreUnavailable: Redis is unavailable; doing it again goes on where it stopped.
    """
    replaced = 0
    try:
        for partition in partitions:
            stream = keys.events_stream(partition)
            start = "-"
            while page := await run_command(client, stream, "XRANGE", stream, start, "+", "COUNT", _PAGE):
                for entry_id, fields in page:
                    replaced += await _replace(client, stream, entry_id, fields, belongs)
                start = f"({page[-1][0].decode()}"
    except REDIS_ERRORS as error:
        raise StoreUnavailable(f"Redis: {reason_of(error)}") from error
    return replaced


async def _replace(
    client: RedisClient,
    stream: str,
    entry_id: bytes,
    fields: dict[bytes, bytes],
    belongs: Callable[[StreamRecord], bool],
) -> bool:
    try:
        records = decode_entry(fields, duplicates=True)
    except EntryError:
        return False
    kept = [encode_record(record) for record in records if not belongs(record)]
    if len(kept) == len(records):
        return False
    payload = encode_records(kept) if kept else b""
    return bool(await run_script(client, _REPLACE, [stream], [entry_id, payload, ENTRY_VERSION]))


async def wait_for_consumers(client: RedisClient, partitions: Iterable[int], *, seconds: float) -> bool:
    """Wait until every entry that consumers were given so far is acknowledged; return False if that takes longer.

    A consumer acknowledges an entry after it has committed and published, so what it did is over then. An entry that a
    dead consumer held is acknowledged by the next one that takes over its work, also where it was deleted meanwhile.

    Args:
        client: Redis.
        partitions: whose streams.
        seconds: how long to wait.

    Raises:
        StoreUnavailable: Redis is unavailable.
    """
    deadline = time.monotonic() + seconds
    try:
        waiting: list[tuple[str, str, bytes]] = []
        for partition in partitions:
            stream = keys.events_stream(partition)
            newest = await run_script(client, _NEWEST, [stream], [])
            waiting += [(stream, group, newest) for group in keys.REQUIRED_GROUPS if newest]
        while True:
            waiting = [
                (stream, group, newest)
                for stream, group, newest in waiting
                if await run_script(client, _PENDING, [stream], [group, newest])
            ]
            if not waiting:
                return True
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_S)
    except REDIS_ERRORS as error:
        raise StoreUnavailable(f"Redis: {reason_of(error)}") from error
