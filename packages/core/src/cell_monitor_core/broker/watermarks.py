"""Publishing watermarks: a beat is published once everything before it in its partition's stream is finished.

Redis decides it, because it alone knows the entries of all workers: those that were delivered and not acknowledged, also to
a worker that is dead. A worker acknowledges an entry after it is committed and published, so what is acknowledged is
on the screens' way already. See docs/adr/0019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from cell_monitor_core import keys
from cell_monitor_core.channels import parse_channel
from cell_monitor_core.redis_client import REDIS_ERRORS, RedisClient, Script, reason_of, run_script
from cell_monitor_core.storage.ports import RedisUnavailable

__all__ = ["Advance", "RedisWatermarks", "WaitingBeat"]

ADVANCE: Final = Script("""\
-- KEYS: stream, newest published beat, Pub/Sub channel, then the metadata of each channel
-- ARGV: group, number of beats, 1 if the newest of them was published for other channels just now, their ids in ascending
-- order, their times, the start of each channel's JSON
-- Acknowledges the beats; publishes the newest of them that has nothing unfinished before it, and deletes those up to it.
-- Answers {number of beats that are done, age in ms of the published one or -1}.
local stream, group, count = KEYS[1], ARGV[1], tonumber(ARGV[2])
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local function before(a, b)
  local a_ms, a_seq = parts(a)
  local b_ms, b_seq = parts(b)
  return a_ms < b_ms or (a_ms == b_ms and a_seq < b_seq)
end
redis.call('XACK', stream, group, unpack(ARGV, 4, 3 + count))
local delivered
for _, fields in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local info = {}
  for i = 1, #fields, 2 do info[fields[i]] = fields[i + 1] end
  if info['name'] == group then delivered = info['last-delivered-id'] end
end
if not delivered then return {0, -1} end
-- The oldest entry with records that a worker has not finished. Other beats and deleted entries hold nothing to wait for.
local newest = ARGV[3 + count]
local unfinished
local pending = redis.call('XPENDING', stream, group, '-', newest, 32)
for i, entry in ipairs(pending) do
  local found = redis.call('XRANGE', stream, entry[1], entry[1])[1]
  local is_beat = false
  if found then
    for j = 1, #found[2], 2 do is_beat = is_beat or found[2][j] == 'w' end
  end
  if (found and not is_beat) or i == 32 then
    unfinished = entry[1]
    break
  end
end
local done = 0
for i = 1, count do
  local id = ARGV[3 + i]
  if (unfinished and before(unfinished, id)) or before(delivered, id) then break end
  done = i
end
if done == 0 then return {0, -1} end
redis.call('XDEL', stream, unpack(ARGV, 4, 3 + done))
local id, at = ARGV[3 + done], ARGV[3 + count + done]
local published = redis.call('GET', KEYS[2])
if published and not before(published, id) and not (ARGV[3] == '1' and published == id) then return {done, -1} end
redis.call('SET', KEYS[2], id, 'EX', 3600)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local generation = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or ''
local messages = {}
for i = 4, #KEYS do
  local meta = redis.call('HMGET', KEYS[i], 'epoch', 'offset', 'generation')
  -- A channel without a position, or of an epoch that has ended, is not current for anyone.
  if meta[1] and meta[2] and meta[3] == generation then
    messages[#messages + 1] = ARGV[2 * count + i] .. ',"epoch":"' .. meta[1] .. '","offset":' .. meta[2]
      .. ',"at":' .. at .. ',"published_at":' .. string.format('%.0f', now) .. '}'
  end
end
if #messages > 0 then redis.call('SPUBLISH', KEYS[3], '[' .. table.concat(messages, ',') .. ']') end
return {done, math.max(now - tonumber(at), 0)}
""")

_CHANNELS_PER_CALL: Final = 200
"""Channels of one call: its script blocks Redis while it runs."""
_encode: Final = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class WaitingBeat:
    """A beat that was read and not published yet: its entry, its time, its channels (see ``records.Beat``)."""

    entry_id: str
    at: int
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Advance:
    """How many of the beats, from the first, are done; and the age of the one that was published, None if none was."""

    done: int
    age_s: float | None


class RedisWatermarks:
    """Publishes the watermarks of the group that commits facts.

    Args:
        client: Redis.
        group: whose entries must be finished.
    """

    def __init__(self, client: RedisClient, *, group: str = keys.GROUP_POSTGRES) -> None:
        self._client = client
        self._group = group

    async def advance(self, partition: int, beats: Sequence[WaitingBeat]) -> Advance:
        """Acknowledge beats of a partition and publish the newest of them that has nothing unfinished before it.

        A watermark is about the partition's order, so it is valid for the channels of all the beats.

        Args:
            partition: whose stream they are of.
            beats: in the order of their entries; at least one.

        Raises:
            StoreUnavailable: Redis is unavailable; calling it again is safe.
        """
        named = {channel for beat in beats for channel in beat.channels}
        channels = sorted(channel for channel in named if _is_course(channel))
        done, age_ms = await self._run(partition, beats, channels[:_CHANNELS_PER_CALL])
        if age_ms >= 0:
            for start in range(_CHANNELS_PER_CALL, len(channels), _CHANNELS_PER_CALL):
                more = channels[start : start + _CHANNELS_PER_CALL]
                await self._run(partition, beats[:done], more, published=True)
        return Advance(done, None if age_ms < 0 else age_ms / 1000)

    async def _run(
        self, partition: int, beats: Sequence[WaitingBeat], channels: Sequence[str], *, published: bool = False
    ) -> tuple[int, int]:
        names = [
            keys.events_stream(partition),
            keys.watermark_newest(partition),
            keys.watermark_channel(partition),
            *(keys.publication_meta(partition, channel) for channel in channels),
        ]
        arguments: list[Any] = [
            self._group,
            len(beats),
            int(published),
            *(beat.entry_id for beat in beats),
            *(beat.at for beat in beats),
            *(b'{"channel":' + _encode(channel) for channel in channels),
        ]
        try:
            done, age_ms = await run_script(self._client, ADVANCE, names, arguments)
        except REDIS_ERRORS as error:
            raise RedisUnavailable(f"no watermark: {reason_of(error)}") from error
        return int(done), int(age_ms)


def _is_course(channel: str) -> bool:
    try:
        return parse_channel(channel)[0] == "course"
    except ValueError:
        return False
