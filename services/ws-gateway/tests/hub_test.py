"""Hazard: a subscriber gets a gap, a duplicate or nothing in one exact order of publications, reads and losses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import pytest

from cell_monitor_core.channels import partition_of
from cell_monitor_core.publications import Publication, Snapshot, Watermark
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_gateway.channel import ChannelLimits, Subscription
from cell_monitor_gateway.feed import Feed
from cell_monitor_gateway.hub import Hub
from cell_monitor_gateway.protocol import CloseCode
from cell_monitor_gateway.subscribers import Subscribers
from cell_monitor_testing.hub_clients import Client, Source
from cell_monitor_testing.model_broker import CHANNEL, DeferredHistory, ModelBroker

PARTITIONS = 8
RECOVERABLE = 4


class FailingSource(Source):
    """A source that first fails in some ways."""

    def __init__(self, failures: list[Exception]) -> None:
        super().__init__()
        self.failures = failures

    async def listen(
        self, partitions: Sequence[int], *, on_subscribed: Callable[[Sequence[int]], None] | None = None
    ) -> AsyncIterator[Publication]:
        if self.failures:
            raise self.failures.pop(0)
        async for publication in super().listen(partitions, on_subscribed=on_subscribed):
            yield publication


class Stage:
    """A hub over the model whose reads the test answers, for hazards that need one exact order."""

    def __init__(self, **limits: Any) -> None:
        self.model = ModelBroker(RECOVERABLE)
        self.history = DeferredHistory(self.model)
        bounds = {"window_s": 0, "max_backlog_bytes": 1000, "recovery_publications": RECOVERABLE, "retry_s": 0}
        self.hub = Hub(self.history, ChannelLimits(partitions=PARTITIONS, **(bounds | limits)))

    def publish(self, count: int = 1) -> None:
        for _ in range(count):
            self.hub.deliver(self.model.publish())

    def lose(self, count: int = 1) -> None:
        for _ in range(count):
            self.model.publish()

    async def subscribe(self, number: int, position: Snapshot | None = None) -> Client:
        """Begin a subscription, as far as its read or the wait for another one."""
        client = Client(self.hub, self.model, number)
        client.task = asyncio.create_task(self._follow(client, position))
        await turns()
        return client

    async def _follow(self, client: Client, position: Snapshot | None) -> None:
        await client.subscribe(self.history, position)

    async def follower(self, number: int, position: Snapshot | None = None) -> Client:
        """Return a client that follows."""
        client = await self.subscribe(number, position)
        await self.answer_all()
        assert client.subscribed
        return client

    async def hub_answer(self, position: Snapshot) -> Subscription:
        """Return the hub's answer to a subscription from a position."""
        client = Client(self.hub, self.model, 9)
        asking = asyncio.create_task(self.hub.subscribe(client, CHANNEL, position.epoch, position.offset))
        await turns()
        await self.answer_all()
        return await asking

    async def answer_all(self) -> None:
        while self.history.reads:
            for read in list(self.history.reads):
                read.deliver()
            await turns()


async def turns() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def test_what_is_published_while_a_history_is_read_reaches_its_reader_once() -> None:
    stage = Stage()
    others = await stage.follower(1)
    late = await stage.subscribe(2, stage.model.position())
    stage.publish(3)
    await turns()
    assert (others.offset, late.subscribed) == (3, False)
    await stage.answer_all()
    assert late.offset == 3
    stage.publish()
    await turns()
    assert (others.offset, late.offset) == (4, 4)


@pytest.mark.parametrize("followed", [False, True], ids=["new channel", "followed already"])
async def test_two_that_subscribe_at_once_each_get_all_that_is_published_meanwhile(followed: bool) -> None:
    stage = Stage()
    if followed:
        await stage.follower(0)
    first = await stage.subscribe(1, stage.model.position())
    stage.publish()
    second = await stage.subscribe(2, stage.model.position())
    stage.publish()
    await turns()
    # The answer to the later question arrives first, if both were asked.
    for read in reversed(list(stage.history.reads)):
        read.deliver()
        await turns()
    stage.publish()
    await turns()
    await stage.answer_all()
    assert [(client.subscribed, client.offset) for client in (first, second)] == [(True, 3), (True, 3)]


async def test_what_was_published_while_the_feed_was_interrupted_is_filled_as_soon_as_it_is_back() -> None:
    stage = Stage()
    source = Source()
    feed = asyncio.create_task(Feed(source, stage.hub, partitions=PARTITIONS, check_interval_s=float("inf")).listen())
    client = await stage.follower(1)
    stage.lose(3)
    assert source.on_subscribed is not None
    source.on_subscribed([partition_of(CHANNEL, PARTITIONS)])
    await turns()
    await stage.answer_all()
    # Neither a further publication nor a routine check was needed.
    assert (client.offset, client.closed) == (3, None)
    feed.cancel()


async def test_a_feed_that_is_back_during_a_check_is_checked_again() -> None:
    stage = Stage()
    client = await stage.follower(1)
    stage.hub.check_positions(range(PARTITIONS))
    await turns()
    stage.lose(2)
    stage.hub.check_positions(range(PARTITIONS))
    await stage.answer_all()
    assert client.offset == 2


async def test_another_epoch_while_a_history_is_read_closes_the_others_and_not_its_reader() -> None:
    stage = Stage()
    others = await stage.follower(1)
    stage.model.begin_epoch()
    stage.history.executes_at_once = False
    late = await stage.subscribe(2)
    stage.publish()
    await stage.answer_all()
    assert others.closed is CloseCode.INSUFFICIENT_STATE
    assert (late.subscribed, late.epoch, late.offset) == (True, "e2", 1)
    stage.publish()
    await turns()
    assert late.offset == 2


async def test_the_first_publication_does_not_wait_for_the_window_and_the_next_ones_do() -> None:
    stage = Stage(window_s=3600)
    client = await stage.follower(1)
    stage.publish()
    await turns()
    assert client.offset == 1
    stage.publish(2)
    await turns()
    assert client.offset == 1


async def test_publications_of_one_window_share_a_frame() -> None:
    stage = Stage(window_s=0.5)
    client = await stage.follower(1)
    stage.publish()
    await turns()
    stage.publish(20)
    async with asyncio.timeout(60):
        while client.offset < 21:
            await asyncio.sleep(0.01)
    assert client.frames == 2


async def test_a_source_that_fails_is_listened_to_again_and_what_it_missed_is_filled() -> None:
    stage = Stage()
    client = await stage.follower(1)
    source = FailingSource([StoreUnavailable("unavailable"), RuntimeError("a fault of this version")])
    feed = Feed(source, stage.hub, partitions=PARTITIONS, check_interval_s=float("inf"), restart_s=0)
    stage.lose()
    listening = asyncio.create_task(feed.listen())
    await turns()
    await turns()
    await stage.answer_all()
    assert client.offset == 1
    source.queue.put_nowait(stage.model.publish())
    await turns()
    assert (source.failures, client.offset) == ([], 2)
    listening.cancel()


async def test_a_slow_connection_is_closed_and_the_others_get_their_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    slow, quick = await stage.follower(1), await stage.follower(2)
    codes: list[CloseCode] = []

    def close(code: CloseCode, *, reconnect_after_ms: int = 0) -> None:
        codes.append(code)
        slow.leave()

    monkeypatch.setattr(slow, "backlog", lambda: 1001)
    monkeypatch.setattr(slow, "close", close)
    stage.publish()
    await turns()
    assert codes == [CloseCode.SLOW]
    assert quick.offset == 1
    stage.publish()
    await turns()
    assert (len(codes), quick.offset) == (1, 2)


async def test_subscribers_are_closed_when_positions_cannot_be_checked_for_too_long() -> None:
    stage = Stage(unverified_s=0.0)
    client = await stage.follower(1)
    async with asyncio.timeout(60):
        while client.closed is None:
            stage.hub.check_positions(range(PARTITIONS))
            await turns()
            for read in list(stage.history.reads):
                read.fail()
            await asyncio.sleep(0.001)
    assert client.closed is CloseCode.INSUFFICIENT_STATE


async def test_a_short_outage_of_the_store_closes_nobody() -> None:
    stage = Stage()
    client = await stage.follower(1)
    stage.hub.check_positions(range(PARTITIONS))
    await turns()
    [read] = stage.history.reads
    read.fail()
    await turns()
    assert not stage.history.reads
    stage.lose()
    stage.hub.check_positions(range(PARTITIONS))
    await turns()
    await stage.answer_all()
    assert (client.offset, client.closed) == (1, None)


async def test_a_gap_is_filled_although_its_first_read_failed() -> None:
    stage = Stage()
    client = await stage.follower(1)
    stage.lose()
    stage.publish()
    await turns()
    [read] = stage.history.reads
    read.fail()
    await turns()
    await stage.answer_all()
    assert (client.offset, client.closed) == (2, None)


async def test_a_fault_while_the_history_is_read_closes_its_subscribers_rather_than_leave_them_behind() -> None:
    stage = Stage()
    client = await stage.follower(1)
    stage.lose()
    stage.publish()
    await turns()
    [read] = stage.history.reads
    read.future.set_exception(RuntimeError("a fault of this version"))
    await turns()
    assert client.closed is CloseCode.INSUFFICIENT_STATE
    assert len(stage.hub) == 0


async def test_a_history_of_too_many_bytes_is_refused_whole() -> None:
    stage = Stage(recovery_bytes=300)
    stage.lose(4)
    refused = await stage.hub_answer(Snapshot("e1", 0))
    assert (refused.recovered, refused.publications, refused.offset) == (False, [], 4)
    assert len(stage.hub) == 0
    answer = await stage.hub_answer(Snapshot("e1", 2))
    assert (answer.recovered, answer.offset) == (True, 4)
    assert [msgspec.json.decode(one)["offset"] for one in answer.publications] == [3, 4]


async def test_a_reader_of_its_history_for_whom_too_much_must_be_kept_is_closed() -> None:
    subscribers = Subscribers(max_kept=2)
    others, late = (Client(Stage().hub, ModelBroker(RECOVERABLE), number) for number in (1, 2))
    subscribers.begin(others)
    assert subscribers.complete(others, 0) == []
    subscribers.begin(late)
    assert subscribers.flush([(1, b"{}"), (2, b"{}")]) == ([([others], [(1, b"{}"), (2, b"{}")])], [])
    assert subscribers.flush([(3, b"{}")]) == ([([others], [(3, b"{}")])], [late])
    assert subscribers.complete(late, 1) is None


@pytest.mark.parametrize(("read_up_to", "kept"), [(0, [2]), (0, []), (1, [3])])
async def test_a_history_that_does_not_join_what_follows_is_refused(read_up_to: int, kept: list[int]) -> None:
    subscribers = Subscribers()
    late = Client(Stage().hub, ModelBroker(RECOVERABLE), 1)
    subscribers.restart(1)
    subscribers.begin(late)
    for offset in kept:
        subscribers.flush([(offset, b"{}")])
    assert subscribers.complete(late, read_up_to) is None
    assert subscribers.following() == []


async def test_what_was_kept_before_the_position_restarted_is_not_joined_to_a_history_that_lacks_it() -> None:
    subscribers = Subscribers()
    late = Client(Stage().hub, ModelBroker(RECOVERABLE), 1)
    subscribers.begin(late)
    subscribers.flush([(5, b"{}")])
    subscribers.restart(0)
    assert subscribers.complete(late, 0) is None
    assert subscribers.following() == []


def mark(stage: Stage, at: int) -> Watermark:
    """Return a watermark that counts everything that was published."""
    return Watermark(CHANNEL, stage.model.epoch, stage.model.top, at, at)


async def test_a_watermark_waits_for_publications_that_wait_for_the_end_of_the_window() -> None:
    stage = Stage(window_s=0.5)
    client = await stage.follower(1)
    stage.publish()
    await turns()
    stage.publish()
    stage.hub.deliver_watermark(mark(stage, 1))
    # The client compares the watermark with what it has.
    assert (client.offset, client.watermark) == (1, 0)
    async with asyncio.timeout(60):
        while client.watermark == 0:
            await asyncio.sleep(0.01)
    assert client.offset == 2


async def test_a_watermark_shows_that_a_publication_was_lost_and_waits_for_the_history() -> None:
    stage = Stage()
    client = await stage.follower(1)
    stage.lose()
    stage.hub.deliver_watermark(mark(stage, 1))
    await turns()
    assert (client.offset, client.watermark, len(stage.history.reads)) == (0, 0, 1)
    await stage.answer_all()
    assert (client.offset, client.watermark) == (1, 1)


async def test_a_subscriber_that_still_reads_the_history_gets_no_watermark() -> None:
    stage = Stage()
    await stage.follower(1)
    late = await stage.subscribe(2, stage.model.position())
    stage.hub.deliver_watermark(mark(stage, 1))
    await turns()
    assert late.watermark == 0
    await stage.answer_all()
    stage.hub.deliver_watermark(mark(stage, 2))
    assert late.watermark == 2


async def test_a_watermark_of_a_channel_that_nobody_follows_here_is_dropped() -> None:
    stage = Stage()
    stage.hub.deliver_watermark(mark(stage, 1))
    assert len(stage.hub) == 0
