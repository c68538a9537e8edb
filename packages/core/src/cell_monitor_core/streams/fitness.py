"""Whether Redis can keep the services' promises: it evicts no event, and this user may run the commands that they need.

Both are asked of Redis itself, since the URL tells neither: ``maxmemory_policy`` of ``INFO memory``, and a script that runs
each command on a key of its own, where it changes nothing. https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from redis.asyncio import RedisCluster
from redis.exceptions import NoPermissionError

from cell_monitor_core import keys
from cell_monitor_core.redis_client import REDIS_ERRORS, RedisClient, Script, reason_of, run_command, run_script
from cell_monitor_core.storage.ports import RedisUnavailable
from cell_monitor_core.streams.beats import STREAM_ENTRIES

__all__ = ["FITNESS_INTERVAL_S", "RedisFitness", "RedisFull", "RedisUnfit", "StreamFull"]

_log = structlog.get_logger(__name__)

FITNESS_INTERVAL_S: Final = 30.0
"""Seconds between two checks: an administrator may change policy and rights while Redis runs."""

_RULES: Final = "docs/operations/datastores.md has the ACL rules that it needs"

# The key is a text while the commands run, so that those for other types answer WRONGTYPE and write nothing.
PROBE: Final = Script("""\
-- KEYS: a key that nobody uses, a Pub/Sub channel that nobody follows
-- Answers what the user may not run or reach.
local missing = {}
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return end
  local text = string.lower(reply.err)
  if string.find(text, 'no permission', 1, true) or string.find(text, 'noperm', 1, true)
    or string.find(text, 'user executing the script', 1, true) then
    local name = select(1, ...)
    if string.find(text, 'access a key', 1, true) or string.find(text, 'the keys', 1, true) then name = 'keys cm:*' end
    if string.find(text, 'access a channel', 1, true) or string.find(text, 'the channel', 1, true) then name = 'channels cm:*' end
    for _, known in ipairs(missing) do if known == name then return end end
    missing[#missing + 1] = name
  end
end
local key = KEYS[1]
try('SET', key, '', 'PX', 1000)
try('GET', key)
try('PTTL', key)
try('EXISTS', key)
try('EXPIRE', key, 1)
try('PEXPIRE', key, 1000)
try('INCR', key)
try('DECR', key)
try('TIME')
try('INFO', 'replication')
try('HGET', key, 'f')
try('HMGET', key, 'f')
try('HGETALL', key)
try('HSET', key, 'f', 'v')
try('HSETNX', key, 'f', 'v')
try('SADD', key, 'm')
try('SCARD', key)
try('SMISMEMBER', key, 'm')
try('ZADD', key, 1, 'm')
try('ZREM', key, 'm')
try('ZCARD', key)
try('ZRANGE', key, 0, 0)
try('ZRANGEBYSCORE', key, 0, 0)
try('ZREMRANGEBYSCORE', key, 0, 0)
try('ZREMRANGEBYRANK', key, 0, 0)
try('XADD', key, '*', 'f', 'v')
try('XLEN', key)
try('XRANGE', key, '-', '+', 'COUNT', 1)
try('XDEL', key, '1-0')
try('XTRIM', key, 'MINID', '0-1')
try('XINFO', 'STREAM', key)
try('XINFO', 'GROUPS', key)
try('XINFO', 'CONSUMERS', key, 'g')
try('XGROUP', 'CREATE', key, 'g', '0')
try('XGROUP', 'DELCONSUMER', key, 'g', 'c')
try('XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', 1, 'STREAMS', key, '>')
try('XACK', key, 'g', '1-0')
try('XPENDING', key, 'g')
try('XAUTOCLAIM', key, 'g', 'c', 1000, '0')
try('SPUBLISH', KEYS[2], '')
try('DEL', key)
return missing
""")


class RedisUnfit(RedisUnavailable):
    """Redis answers, but cannot keep what the services promise; the message says what to change."""


class RedisFull(RedisUnavailable):
    """Redis answers, and refuses events until there is space; the class is what ``/readyz`` shows."""


class StreamFull(RedisUnavailable):
    """A stream has as many entries as it may, and refuses events until the workers have stored some."""


class RedisFitness:
    """Asks Redis whether it is fit, every ``FITNESS_INTERVAL_S`` or when a readiness check finds the answer that old.

    Args:
        client: Redis.
        on_change: called with what is wrong, or None, whenever that changes.
        partitions: number of streams of events.

    Attributes:
        problem: what is wrong and what to do; None while nothing is known to be wrong.
    """

    def __init__(
        self, client: RedisClient, on_change: Callable[[str | None], None] = lambda _: None, *, partitions: int = 8
    ) -> None:
        self._client = client
        self._partitions = partitions
        self._on_change = on_change
        self._asked_at: float | None = None
        self._warned: set[str] = set()
        self.problem: str | None = None

    async def step(self) -> None:
        """Ask once. While Redis is unavailable what was known stays."""
        try:
            problem = await self._problem()
        except NoPermissionError as error:
            problem = f"the user of CELL_MONITOR_REDIS_URL may not run or reach what is needed: {error}; {_RULES}"
        except REDIS_ERRORS as error:
            _log.warning("redis_fitness_unknown", reason=reason_of(error))
            return
        self._asked_at = time.monotonic()
        if problem != self.problem:
            self.problem = problem
            if problem is None:
                _log.info("redis_fit")
            else:
                _log.error("redis_unfit", reason=problem)
            self._on_change(problem)

    async def check(self) -> None:
        """Pass if Redis answers and nothing is known to be wrong; the check of Redis for the readiness of every service.

        Raises:
            RedisUnfit: something is.
            Exception: what redis-py raises where Redis does not answer.
        """
        await self._client.ping()
        if self._asked_at is None or time.monotonic() - self._asked_at >= FITNESS_INTERVAL_S:
            await self.step()
        if self.problem is not None:
            raise RedisUnfit(self.problem)

    async def check_space(self) -> None:
        """Pass if no stream has reached its limit and no server lacks memory, as far as this user may ask.

        Raises:
            StreamFull: a stream has.
            RedisFull: a server does.
            Exception: what redis-py raises where Redis does not answer.
        """
        for partition in range(self._partitions):
            stream = keys.events_stream(partition)
            entries = await run_command(self._client, stream, "XLEN", stream)
            if entries >= STREAM_ENTRIES:
                raise StreamFull(
                    f"{stream} has {entries} entries and refuses events: see why the workers store nothing"
                )
        try:
            answers = await self._info("memory")
        except NoPermissionError:
            return
        for node, info in answers.items():
            limit = int(info.get("maxmemory", 0))
            # What replicas have still to be sent does not count (redis.conf, maxmemory).
            used = int(info.get("used_memory", 0)) - int(info.get("mem_not_counted_for_evict", 0))
            if 0 < limit <= used and str(info.get("maxmemory_policy", "noeviction")) == "noeviction":
                raise RedisFull(
                    f"{node} is full and refuses events: raise maxmemory, or see why the workers store nothing"
                )

    async def _problem(self) -> str | None:
        names = [f"cm:{keys.partition_tag(0)}:rights", keys.publication_channel(0) + ":rights"]
        missing = [name.decode() for name in await run_script(self._client, PROBE, names, [])]
        if missing:
            return f"the user of CELL_MONITOR_REDIS_URL has no right to: {', '.join(missing)}; {_RULES}"
        for node, info in (await self._info("memory")).items():
            policy = str(info.get("maxmemory_policy", ""))
            if policy.startswith("allkeys"):
                return f"{node} deletes accepted events when its memory is full: set maxmemory-policy noeviction"
            if policy != "noeviction":
                self._warn(f"{node} does not say noeviction as its maxmemory-policy, but {policy or 'nothing'}")
        for node, info in (await self._info("persistence")).items():
            append_only = str(info.get("aof_enabled", ""))
            if append_only not in {"0", "1"}:
                self._warn(
                    f"{node} does not say whether it has an append-only file: without one a restart loses events"
                )
            elif append_only == "0":
                self._warn(f"{node} has no append-only file: a restart loses accepted events that were not stored")
        return None

    async def _info(self, section: str) -> dict[str, dict[str, Any]]:
        client = self._client
        if not isinstance(client, RedisCluster):
            return {"Redis": await client.info(section)}
        await client.initialize()
        return {
            f"Redis {node.name}": await client.execute_command("INFO", section, target_nodes=node)
            for node in client.get_primaries()
        }

    def _warn(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            _log.warning("redis_weak", reason=sentence)
