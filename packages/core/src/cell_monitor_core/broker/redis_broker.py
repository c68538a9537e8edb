"""The broker over Redis or Valkey: history in a stream, live publications by sharded Pub/Sub."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import msgspec
import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError

from cell_monitor_core import keys
from cell_monitor_core.broker.listener import ShardListener
from cell_monitor_core.broker.scripts import POSITION, PUBLISH, RECOVER
from cell_monitor_core.channels import partition_of
from cell_monitor_core.publications import Publication, Snapshot, Watermark
from cell_monitor_core.redis_client import REDIS_ERRORS, RedisClient, Script, reason_of, run_command, run_script
from cell_monitor_core.storage.ports import Draft, Recovery, RedisUnavailable

__all__ = ["RedisBroker"]

META_SECONDS: Final = 7 * 24 * 3600
"""Seconds for which the epoch, the offset and the newest versions of an unused channel are kept."""

_log = structlog.get_logger(__name__)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Publication)


class _RedisFull(RedisUnavailable):
    """Redis takes nothing new before some of it was deleted."""


class RedisBroker:
    """``Broker`` over Redis or Valkey, single or Cluster. Methods raise ``StoreUnavailable`` when Redis is unavailable.

    Args:
        client: its options are also used for the Pub/Sub connections.
        partitions: number of partitions, the same in every process.
        history_size: minimum number of publications of one channel that can be recovered.
        history_ttl: seconds without a publication after which a channel's history is dropped.
    """

    def __init__(
        self, client: RedisClient, *, partitions: int = 8, history_size: int = 1000, history_ttl: int = 3600
    ) -> None:
        keys.check_partitions(partitions)
        self.partitions = partitions
        self._client = client
        self._history_size = history_size
        self._history_ttl = history_ttl
        self._full = False

    async def publish(self, channel: str, drafts: Sequence[Draft]) -> int:
        """Publish drafts in order, atomically for the channel; return how many were newer than the published state.

        Returns 0 if the connection broke after the drafts had been published and they were published again. A full Redis
        forgets the channel instead, and returns 0: the states are stored, dashboards fetch them with the next snapshot, and
        the queue of events, which is what fills it, goes on to be stored and deleted.

        Raises:
            StoreUnavailable: either all drafts were published or none; it is safe to publish them again.
        """
        if not drafts:
            return 0
        partition = partition_of(channel, self.partitions)
        arguments: list[str | bytes | int] = [
            _new_epoch(),
            META_SECONDS,
            self._history_size,
            self._history_ttl,
            b'{"channel":' + _encoder.encode(channel) + b",",
        ]
        for draft in drafts:
            arguments += (f"{draft.kind}:{draft.key}", draft.version, _tail(draft))
        script_keys = [
            keys.publication_meta(partition, channel),
            keys.history_stream(partition, channel),
            keys.publication_versions(partition, channel),
            keys.publication_channel(partition),
        ]
        try:
            published = int(await self._run(PUBLISH, script_keys, arguments))
        except _RedisFull:
            await self.forget(channel)
            if not self._full:
                _log.warning("redis_full", effect="publications are replaced by snapshots")
            self._full = True
            return 0
        self._full = False
        return published

    async def position(self, channel: str) -> Snapshot:
        """Return the channel's epoch and newest offset; start an epoch if there is none."""
        epoch, offset = await self._run(POSITION, self._position_keys(channel), [_new_epoch(), META_SECONDS])
        return Snapshot(epoch.decode(), int(offset))

    async def recover(self, channel: str, epoch: str, offset: int, *, limit: int) -> Recovery:
        """Return all publications after ``offset``, or ``recovered=False`` if one is missing or the epoch differs."""
        arguments = [_new_epoch(), META_SECONDS, epoch, offset, limit]
        current, newest, recovered, payloads = await self._run(RECOVER, self._position_keys(channel), arguments)
        return Recovery(
            current.decode(), int(newest), bool(recovered), [_decoder.decode(payload) for payload in payloads]
        )

    async def forget(self, channel: str) -> None:
        """Delete a channel's history and versions. Its next use starts a new epoch and dashboards fetch a snapshot.

        Call it after PostgreSQL was restored from a backup: the restored states have lower versions than the published
        ones and would be suppressed.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        partition = partition_of(channel, self.partitions)
        names = [*self._position_keys(channel), keys.publication_versions(partition, channel)]
        try:
            await run_command(self._client, names[0], "DEL", *names)
        except REDIS_ERRORS as error:
            raise RedisUnavailable(f"Redis did not answer: {reason_of(error)}") from error

    async def delete_history(self, channel: str) -> None:
        """Delete what was published on a channel; its numbers go on. Dashboards that missed any of it fetch a snapshot.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        name = keys.history_stream(partition_of(channel, self.partitions), channel)
        try:
            await run_command(self._client, name, "DEL", name)
        except REDIS_ERRORS as error:
            raise RedisUnavailable(f"Redis did not answer: {reason_of(error)}") from error

    def listen(
        self, partitions: Sequence[int], *, on_subscribed: Callable[[Sequence[int]], None] | None = None
    ) -> AsyncIterator[Publication | Watermark]:
        """Yield live publications and watermarks of partitions without end; reconnect after a failure or a move of slots.

        Args:
            partitions: the partitions to subscribe to.
            on_subscribed: called with the partitions of each new or repeated subscription. Publications that were
                sent before it have not been yielded.
        """
        return ShardListener(self._client, partitions, on_subscribed).messages()

    async def _run(self, script: Script, script_keys: list[str], arguments: list[Any]) -> Any:
        """Run a script, and once more if the connection broke: versions make the second publication idempotent."""
        for last in (False, True):
            try:
                return await run_script(self._client, script, script_keys, arguments)
            except RedisConnectionError as error:
                # Usually a pooled connection to a server that has been restarted.
                if last:
                    raise RedisUnavailable(f"Redis is unavailable: {reason_of(error)}") from error
            except OutOfMemoryError as error:
                raise _RedisFull("Redis is full") from error
            except REDIS_ERRORS as error:
                raise RedisUnavailable(f"Redis did not answer: {reason_of(error)}") from error
        raise AssertionError

    def _position_keys(self, channel: str) -> list[str]:
        partition = partition_of(channel, self.partitions)
        return [keys.publication_meta(partition, channel), keys.history_stream(partition, channel)]


def _new_epoch() -> str:
    return secrets.token_hex(8)


def _tail(draft: Draft) -> bytes:
    """Return the part of a publication's JSON that follows its offset; the state is copied unchanged."""
    tail = b',"kind":"' + draft.kind.encode() + b'","state":' + draft.state
    if draft.traceparent is not None:
        tail += b',"traceparent":' + _encoder.encode(draft.traceparent)
    if draft.received_at is not None:
        tail += b',"received_at":%d' % draft.received_at
    return tail + b"}"
