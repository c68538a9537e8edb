"""The Lua scripts of the event streams. Each touches the keys of one partition, which are in one slot of a Cluster."""

from __future__ import annotations

from typing import Final

from cell_monitor_core.redis_client import Script
from cell_monitor_core.storage.ports import AppendOutcome

__all__ = ["APPEND", "BACKLOG_FULL", "BEAT", "LAG", "RECLAIM", "RELEASE", "TRIM", "append_outcomes"]

BACKLOG_FULL: Final = b"F"
"""The append script's answer when the stream is over its bound."""

APPEND: Final = Script("""\
-- KEYS: stream, ids of this time bucket, ids of the bucket before
-- ARGV: payload, ids (16 bytes each), most entries, most ids of a bucket, seconds to keep a bucket
-- Answers '' if every record is new, 'F' if the stream is full, else '0' (new) or '1' (seen before) for each record.
local ids = {}
for i = 1, #ARGV[2] / 16 do ids[i] = string.sub(ARGV[2], 16 * i - 15, 16 * i) end
local now = redis.call('SMISMEMBER', KEYS[2], unpack(ids))
local before = redis.call('SMISMEMBER', KEYS[3], unpack(ids))
local fresh, marks, here = {}, {}, {}
for i, id in ipairs(ids) do
  if now[i] == 1 or before[i] == 1 or here[id] then
    marks[i] = '1'
  else
    marks[i] = '0'
    here[id] = true
    fresh[#fresh + 1] = id
  end
end
if #fresh == 0 then return table.concat(marks) end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 'F' end
if #fresh == #ids then
  redis.call('XADD', KEYS[1], '*', 'v', '1', 'b', ARGV[1])
else
  -- The copies that are queued already are marked: they have another receipt, and nobody needs them.
  redis.call('XADD', KEYS[1], '*', 'v', '1', 'b', ARGV[1], 'd', table.concat(marks))
end
local size = redis.call('SCARD', KEYS[2])
if size < tonumber(ARGV[4]) then
  redis.call('SADD', KEYS[2], unpack(fresh))
  if size == 0 then redis.call('EXPIRE', KEYS[2], ARGV[5]) end
end
if #fresh == #ids then return '' end
return table.concat(marks)
""")


def append_outcomes(reply: bytes, count: int) -> list[AppendOutcome]:
    """Return what the append script's reply says of each of ``count`` records; not for ``BACKLOG_FULL``."""
    if not reply:
        return ["accepted"] * count
    return ["duplicate" if mark == 0x31 else "accepted" for mark in reply]


RECLAIM: Final = Script("""\
-- KEYS: stream. ARGV: group, consumer, least idle ms, cursor, count, ms after which an idle consumer is forgotten
-- Answers {next cursor, {{id, {field, value, ...}, deliveries}, ...}}.
local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5])
local entries = {}
for i, entry in ipairs(claimed[2]) do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1)
  entries[i] = {entry[1], entry[2], pending[1] and pending[1][4] or 1}
end
-- In the same script, since a consumer that wakes up between look and deletion would lose what it was given.
for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local info = {}
  for i = 1, #fields, 2 do info[fields[i]] = fields[i + 1] end
  if info['pending'] == 0 and info['idle'] > tonumber(ARGV[6]) and info['name'] ~= ARGV[2] then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], info['name'])
  end
end
return {claimed[1], entries}
""")

TRIM: Final = Script("""\
-- KEYS: stream. ARGV: the groups that must be done with an entry. Answers the number of deleted entries.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local groups = {}
for _, fields in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local info = {}
  for i = 1, #fields, 2 do info[fields[i]] = fields[i + 1] end
  groups[info['name']] = info
end
local function parts(id)
  local dash = string.find(id, '-', 1, true)
  return tonumber(string.sub(id, 1, dash - 1)), tonumber(string.sub(id, dash + 1))
end
local lowest_ms, lowest_seq
for _, name in ipairs(ARGV) do
  local info = groups[name]
  if not info then return 0 end
  local ms, seq
  if info['pending'] > 0 then
    ms, seq = parts(redis.call('XPENDING', KEYS[1], name)[2])
  else
    ms, seq = parts(info['last-delivered-id'])
    seq = seq + 1
  end
  if not lowest_ms or ms < lowest_ms or (ms == lowest_ms and seq < lowest_seq) then
    lowest_ms, lowest_seq = ms, seq
  end
end
if not lowest_ms then return 0 end
return redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-%.0f', lowest_ms, lowest_seq))
""")

_BACKLOG: Final = """\
local function backlog(stream, name)
  -- Returns the number of entries that a group has not acknowledged, and the id of the oldest of them or nil.
  if redis.call('EXISTS', stream) == 0 then return 0, nil end
  local group
  for _, fields in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local info = {}
    for i = 1, #fields, 2 do info[fields[i]] = fields[i + 1] end
    if info['name'] == name then group = info end
  end
  if not group then
    local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    return redis.call('XLEN', stream), first and first[1]
  end
  local pending, lag = group['pending'], group['lag']
  local unread = redis.call('XRANGE', stream, '(' .. group['last-delivered-id'], '+', 'COUNT', 1)[1]
  if not unread then
    lag = 0
  elseif not lag then
    -- Redis does not know it once an entry that the group had not read was deleted, as beats are.
    lag = math.max(redis.call('XLEN', stream) - pending, 1)
  end
  if pending > 0 then return pending + lag, redis.call('XPENDING', stream, name)[2] end
  return lag, unread and unread[1]
end
local function age_ms(id)
  local time = redis.call('TIME')
  return math.max(time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(string.match(id, '^%d+')), 0)
end
"""

LAG: Final = Script(
    _BACKLOG
    + """\
-- KEYS: stream. ARGV: group. Answers {entries not acknowledged, age of the oldest in ms}.
local count, oldest = backlog(KEYS[1], ARGV[1])
return {count, oldest and age_ms(oldest) or 0}
"""
)

BEAT: Final = Script(
    _BACKLOG
    + """\
-- KEYS: lease, followed channels, stream
-- ARGV: owner, ms that the lease lasts, group, most entries, most channels, payload without records, 1 to append
-- Answers {'held', ms until another's lease ends}, {'idle'}, {'full'}, {'later'} where ARGV[7] is 0, or
-- {'beat', age in ms of the oldest entry that the group had not finished}.
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return {'held', redis.call('PTTL', KEYS[1])} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if ARGV[7] == '0' then return {'later'} end
local time = redis.call('TIME')
local channels = redis.call('ZRANGE', KEYS[2], '(' .. time[1], '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[5])
if #channels == 0 then return {'idle'} end
if redis.call('XLEN', KEYS[3]) >= tonumber(ARGV[4]) then return {'full'} end
local _, oldest = backlog(KEYS[3], ARGV[3])
local at = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('XADD', KEYS[3], '*', 'v', '1', 'b', ARGV[6], 'w', at .. '\\n' .. table.concat(channels, '\\n'))
return {'beat', oldest and age_ms(oldest) or 0}
"""
)

RELEASE: Final = Script("""\
-- KEYS: lease. ARGV: owner
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
""")
