"""The contract of every broker, tested on each adapter."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.publications import Publication
from cell_monitor_core.redis_client import aclose, connect
from cell_monitor_core.storage.ports import Draft
from cell_monitor_testing.memory_broker import MemoryBroker

CHANNEL = "course:c1"
ALL = range(8)


def draft(key: str = "s1", version: int = 1, text: str = "x") -> Draft:
    return Draft("student", key, version, msgspec.json.encode({"key": key, "version": version, "text": text}))


def states(publications: list[Publication]) -> list[tuple[str, int]]:
    decoded = [msgspec.json.decode(publication.state) for publication in publications]
    return [(state["key"], state["version"]) for state in decoded]


@contextlib.asynccontextmanager
async def listening(broker: Any, partitions: Any = ALL) -> AsyncIterator[asyncio.Queue[Publication]]:
    """A listener whose subscription has been confirmed."""
    subscribed: set[int] = set()
    complete = asyncio.Event()

    def on_subscribed(some: Any) -> None:
        subscribed.update(some)
        if subscribed >= set(partitions):
            complete.set()

    received: asyncio.Queue[Publication] = asyncio.Queue()

    async def pump() -> None:
        async for publication in broker.listen(partitions, on_subscribed=on_subscribed):
            received.put_nowait(publication)

    task = asyncio.create_task(pump())
    await asyncio.wait_for(complete.wait(), 60)
    try:
        yield received
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_publications_are_numbered_from_one_without_gaps(broker: Any) -> None:
    start = await broker.position(CHANNEL)
    assert start.offset == 0
    assert await broker.publish(CHANNEL, [draft("a"), draft("b")]) == 2
    assert await broker.publish(CHANNEL, [draft("c")]) == 1
    recovery = await broker.recover(CHANNEL, start.epoch, 0, limit=100)
    assert recovery.recovered
    assert [publication.offset for publication in recovery.publications] == [1, 2, 3]
    assert states(recovery.publications) == [("a", 1), ("b", 1), ("c", 1)]
    assert (await broker.position(CHANNEL)).offset == 3


async def test_recovery_returns_exactly_the_missed_publications(broker: Any) -> None:
    epoch = (await broker.position(CHANNEL)).epoch
    await broker.publish(CHANNEL, [draft(f"{n}") for n in range(10)])
    recovery = await broker.recover(CHANNEL, epoch, 7, limit=100)
    assert (recovery.epoch, recovery.offset, recovery.recovered) == (epoch, 10, True)
    assert [publication.offset for publication in recovery.publications] == [8, 9, 10]
    assert (await broker.recover(CHANNEL, epoch, 10, limit=100)).publications == []


async def test_recovery_from_another_epoch_returns_nothing(broker: Any) -> None:
    await broker.publish(CHANNEL, [draft()])
    recovery = await broker.recover(CHANNEL, "another", 0, limit=100)
    assert not recovery.recovered
    assert recovery.publications == []
    assert recovery.offset == 1


async def test_recovery_from_an_offset_above_the_newest_is_refused(broker: Any) -> None:
    epoch = (await broker.position(CHANNEL)).epoch
    await broker.publish(CHANNEL, [draft()])
    assert not (await broker.recover(CHANNEL, epoch, 2, limit=100)).recovered


async def test_recovery_of_more_than_the_limit_returns_nothing(broker: Any) -> None:
    epoch = (await broker.position(CHANNEL)).epoch
    await broker.publish(CHANNEL, [draft(f"{n}") for n in range(5)])
    assert not (await broker.recover(CHANNEL, epoch, 0, limit=4)).recovered
    assert (await broker.recover(CHANNEL, epoch, 1, limit=4)).recovered


async def test_recovery_from_before_the_history_returns_nothing(broker: Any) -> None:
    epoch = (await broker.position(CHANNEL)).epoch
    for n in range(500):
        await broker.publish(CHANNEL, [draft(f"{n}")])
    assert not (await broker.recover(CHANNEL, epoch, 1, limit=1000)).recovered
    last = await broker.recover(CHANNEL, epoch, 450, limit=1000)
    assert [publication.offset for publication in last.publications] == list(range(451, 501))


async def test_channels_have_independent_offsets(broker: Any) -> None:
    await broker.publish("course:a", [draft(), draft("b")])
    await broker.publish("course:b", [draft()])
    assert (await broker.position("course:a")).offset == 2
    assert (await broker.position("course:b")).offset == 1


async def test_an_older_or_equal_version_is_not_published(broker: Any) -> None:
    assert await broker.publish(CHANNEL, [draft(version=3)]) == 1
    assert await broker.publish(CHANNEL, [draft(version=3), draft(version=2)]) == 0
    assert await broker.publish(CHANNEL, [draft(version=2), draft(version=4)]) == 1
    assert await broker.publish(CHANNEL, [Draft("help", "s1", 1, b"{}")]) == 1
    assert (await broker.position(CHANNEL)).offset == 3


async def test_a_forgotten_channel_starts_a_new_epoch_and_publishes_lower_versions(broker: Any) -> None:
    await broker.publish(CHANNEL, [draft(version=9)])
    before = await broker.position(CHANNEL)
    await broker.forget(CHANNEL)
    assert await broker.publish(CHANNEL, [draft(version=2)]) == 1
    after = await broker.position(CHANNEL)
    assert after.epoch != before.epoch
    assert not (await broker.recover(CHANNEL, before.epoch, before.offset, limit=10)).recovered
    assert states((await broker.recover(CHANNEL, after.epoch, 0, limit=10)).publications) == [("s1", 2)]


async def test_what_was_deleted_from_the_history_is_recovered_by_nobody_and_the_numbers_go_on(broker: Any) -> None:
    await broker.delete_history(CHANNEL)
    await broker.publish(CHANNEL, [draft(version=1), draft("s2", 1)])
    behind, at = await broker.position(CHANNEL), 1
    await broker.delete_history(CHANNEL)
    for offset in (0, at):
        assert not (await broker.recover(CHANNEL, behind.epoch, offset, limit=10)).recovered
    current = await broker.recover(CHANNEL, behind.epoch, behind.offset, limit=10)
    assert (current.recovered, current.publications) == (True, [])
    # An older version is still not published.
    assert await broker.publish(CHANNEL, [draft(version=1), draft("s3", 1)]) == 1
    after = await broker.recover(CHANNEL, behind.epoch, behind.offset, limit=10)
    assert (after.recovered, states(after.publications)) == (True, [("s3", 1)])
    assert not (await broker.recover(CHANNEL, behind.epoch, at, limit=10)).recovered


async def test_publishing_no_drafts_sends_nothing(broker: Any) -> None:
    assert await broker.publish(CHANNEL, []) == 0
    assert (await broker.position(CHANNEL)).offset == 0


async def test_live_publications_arrive_in_the_order_of_publication(broker: Any) -> None:
    async with listening(broker) as received:
        epoch = (await broker.position(CHANNEL)).epoch
        await broker.publish(CHANNEL, [draft('ä\u3042"\\', text="出力"), draft("b")])
        await broker.publish(CHANNEL, [Draft("course", "c1", 1, b'{"n":1}', "00-aa-bb-01", 1_775_034_000_456)])
        live = [await asyncio.wait_for(received.get(), 60) for _ in range(3)]
    assert [publication.offset for publication in live] == [1, 2, 3]
    assert {publication.epoch for publication in live} == {epoch}
    assert {publication.channel for publication in live} == {CHANNEL}
    assert (live[2].traceparent, live[2].received_at) == ("00-aa-bb-01", 1_775_034_000_456)
    assert (live[1].traceparent, live[1].received_at) == (None, None)
    stored = await broker.recover(CHANNEL, epoch, 0, limit=10)
    assert [msgspec.json.encode(one) for one in stored.publications] == [msgspec.json.encode(one) for one in live]


async def test_a_listener_receives_exactly_the_partitions_that_it_subscribed_to(broker: Any) -> None:
    from cell_monitor_core.channels import partition_of

    channels = [f"course:c{n}" for n in range(40)]
    assert {partition_of(channel, 8) for channel in channels} == set(ALL)
    async with listening(broker) as everything, listening(broker, [3]) as some:
        for channel in channels:
            await broker.publish(channel, [draft()])
        received = {(await asyncio.wait_for(everything.get(), 60)).channel for _ in channels}
        expected = {channel for channel in channels if partition_of(channel, 8) == 3}
        received_some = {(await asyncio.wait_for(some.get(), 60)).channel for _ in expected}
        assert some.empty()
    assert received == set(channels)
    assert received_some == expected


DRAFTS = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(1, 9)), min_size=1, max_size=30)


def test_versions_are_published_in_ascending_order_including_the_newest(store_url: str | None) -> None:
    counter = iter(range(1_000_000))

    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(drafts=DRAFTS, calls=st.integers(1, 5))
    def check(drafts: list[tuple[str, int]], calls: int) -> None:
        async def run(broker: Any) -> None:
            channel = f"course:v{next(counter)}"
            epoch = (await broker.position(channel)).epoch
            for start in range(0, len(drafts), calls):
                await broker.publish(channel, [draft(key, version) for key, version in drafts[start : start + calls]])
            recovery = await broker.recover(channel, epoch, 0, limit=1000)
            assert recovery.recovered
            newest: dict[str, int] = {}
            for key, version in states(recovery.publications):
                assert version > newest.get(key, 0)
                newest[key] = version
            assert newest == {key: max(version for name, version in drafts if name == key) for key, _ in drafts}

        _with_broker(store_url, run)

    check()


def test_recovery_is_complete_or_refused(store_url: str | None) -> None:
    counter = iter(range(1_000_000))

    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(
        published=st.integers(0, 30),
        asked=st.integers(0, 40),
        limit=st.integers(1, 40),
        right_epoch=st.booleans(),
    )
    def check(published: int, asked: int, limit: int, right_epoch: bool) -> None:
        async def run(broker: Any) -> None:
            channel = f"course:r{next(counter)}"
            epoch = (await broker.position(channel)).epoch
            if published:
                await broker.publish(channel, [draft(f"{n}") for n in range(published)])
            recovery = await broker.recover(channel, epoch if right_epoch else "other", asked, limit=limit)
            assert recovery.epoch == epoch
            assert recovery.offset == published
            complete = right_epoch and 0 <= published - asked <= limit
            assert recovery.recovered == complete
            expected = list(range(asked + 1, published + 1)) if complete else []
            assert [publication.offset for publication in recovery.publications] == expected

        _with_broker(store_url, run)

    check()


def _with_broker(url: str | None, run: Any) -> None:
    async def main() -> None:
        if url is None:
            await run(MemoryBroker())
            return
        client = connect(url, name="test")
        try:
            await run(RedisBroker(client))
        finally:
            await aclose(client)

    asyncio.run(main())
