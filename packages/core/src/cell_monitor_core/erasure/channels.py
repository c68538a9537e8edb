"""Taking a person or a course out of what the broker keeps of channels, and out of test mode's progress."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from redis.asyncio import RedisCluster

from cell_monitor_core import keys
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.channels import course_channel, partition_of, test_channel
from cell_monitor_core.redis_client import REDIS_ERRORS, RedisClient, reason_of, run_command
from cell_monitor_core.storage.ports import StoreUnavailable

__all__ = ["delete_presence", "forget_courses", "forget_tests"]


async def forget_courses(client: RedisClient, partitions: int, course_ids: Iterable[str]) -> None:
    """Begin the channels of courses again: their dashboards fetch a snapshot, in which the person is not.

    Raises:
        StoreUnavailable: Redis is unavailable.
    """
    broker = RedisBroker(client, partitions=partitions)
    for course_id in course_ids:
        await broker.forget(course_channel(course_id))


async def delete_presence(client: RedisClient, partitions: int, course_id: str) -> None:
    """Delete which connections watch a course.

    Raises:
        StoreUnavailable: Redis is unavailable.
    """
    channel = course_channel(course_id)
    partition = partition_of(channel, partitions)
    key, followed = keys.presence_zset(partition, channel), keys.followed_channels(partition)
    try:
        await run_command(client, key, "DEL", key)
        await run_command(client, followed, "ZREM", followed, channel)
    except REDIS_ERRORS as error:
        raise StoreUnavailable(f"Redis: {reason_of(error)}") from error


async def forget_tests(client: RedisClient, partitions: int, person_id: UUID) -> None:
    """Delete a person's progress in test mode, and begin the channels again on which their test events were published.

    Raises:
        StoreUnavailable: Redis is unavailable.
    """
    broker = RedisBroker(client, partitions=partitions)
    # cm:{p00xx}:test:<test id>:<person id>:progress; a test id holds no colon.
    pattern = f"cm:*:test:*:{person_id.hex}:progress"
    options: dict[str, Any] = {"target_nodes": RedisCluster.PRIMARIES} if isinstance(client, RedisCluster) else {}
    try:
        found = [key async for key in client.scan_iter(match=pattern, count=1000, **options)]
        for key in found:
            name = key.decode()
            await broker.forget(test_channel(name.split(":")[3]))
            await run_command(client, name, "DEL", name)
    except REDIS_ERRORS as error:
        raise StoreUnavailable(f"Redis: {reason_of(error)}") from error
