"""The Lua scripts of the broker. Each uses the keys of one channel, which are in one Cluster slot.

An epoch ends when an offset could be assigned twice. That is the case when the channel's data has been lost, and when
a crash (AOF of the last second) or a failover (asynchronous replication) may have lost the newest offsets. Redis changes
``master_replid`` at each start and each promotion, so a new value starts a new epoch; reading it costs two microseconds.
"""

from __future__ import annotations

from typing import Final

from cell_monitor_core.redis_client import Script

__all__ = ["POSITION", "PUBLISH", "RECOVER"]

_ENTER: Final = """\
-- KEYS: meta, history. ARGV: name of the epoch if a new one starts, seconds to keep the metadata
local generation = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or ''
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'generation')
local epoch, offset = meta[1], tonumber(meta[2])
if not epoch or not offset or meta[3] ~= generation then
  epoch, offset = ARGV[1], 0
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', 0, 'generation', generation)
  redis.call('DEL', KEYS[2])
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""

POSITION: Final = Script(
    _ENTER
    + """\
return {epoch, offset}
"""
)

PUBLISH: Final = Script(
    _ENTER
    + """\
-- KEYS continued: versions, Pub/Sub channel
-- ARGV continued: history size, seconds to keep the history, start of the JSON; for each draft: name, version, tail
local published = {}
for i = 6, #ARGV, 3 do
  local newest = redis.call('HGET', KEYS[3], ARGV[i])
  if not newest or tonumber(newest) < tonumber(ARGV[i + 1]) then
    offset = offset + 1
    local number = string.format('%.0f', offset)
    local text = ARGV[5] .. '"epoch":"' .. epoch .. '","offset":' .. number .. ARGV[i + 2]
    redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], number .. '-0', 'p', text)
    published[#published + 1] = text
  end
end
if #published > 0 then
  redis.call('HSET', KEYS[1], 'offset', string.format('%.0f', offset))
  redis.call('EXPIRE', KEYS[2], ARGV[4])
  redis.call('EXPIRE', KEYS[3], ARGV[2])
  redis.call('SPUBLISH', KEYS[4], '[' .. table.concat(published, ',') .. ']')
end
return #published
"""
)

RECOVER: Final = Script(
    _ENTER
    + """\
-- ARGV continued: the subscriber's epoch and offset, maximum number of publications
-- Returns {epoch, offset, 1, {publication, ...}}, or {epoch, offset, 0, {}} if one of them is missing.
local after = tonumber(ARGV[4])
local missing = offset - after
if ARGV[3] ~= epoch or missing < 0 or missing > tonumber(ARGV[5]) then return {epoch, offset, 0, {}} end
if missing == 0 then return {epoch, offset, 1, {}} end
local found = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', after + 1), '+', 'COUNT', missing)
if #found ~= missing or found[1][1] ~= string.format('%.0f-0', after + 1) then return {epoch, offset, 0, {}} end
local publications = {}
for i, entry in ipairs(found) do publications[i] = entry[2][2] end
return {epoch, offset, 1, publications}
"""
)
