"""Hazard: a subscriber gets a gap, a duplicate or nothing, because publications and its own history overlap in time."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from cell_monitor_core.channels import partition_of
from cell_monitor_core.publications import Publication, Snapshot
from cell_monitor_core.storage.ports import Recovery, StoreUnavailable
from cell_monitor_gateway.channel import ChannelLimits, Subscription
from cell_monitor_gateway.feed import Feed
from cell_monitor_gateway.hub import Hub
from cell_monitor_gateway.protocol import CloseCode
from cell_monitor_gateway.subscribers import Subscribers
from cell_monitor_testing.model_broker import CHANNEL, ModelBroker

PARTITIONS = 8
RECOVERABLE = 4
# Explaining a failure takes minutes here, and more than a test may take.
WITHOUT_EXPLANATION = [phase for phase in Phase if phase is not Phase.explain]


class Read:
    """A question to the broker: executed at once or when it is answered, and answered when the test says."""

    def __init__(self, execute: Callable[[], Any], *, at_once: bool) -> None:
        self.execute = execute
        self.answer = execute() if at_once else None
        self.future = asyncio.get_running_loop().create_future()

    def deliver(self) -> None:
        if self.answer is None:
            self.answer = self.execute()
        if not self.future.done():
            self.future.set_result(self.answer)

    def fail(self) -> None:
        if not self.future.done():
            self.future.set_exception(StoreUnavailable("unavailable"))


class DeferredHistory:
    """The history of the model; what is asked waits in ``reads`` until the test answers it."""

    def __init__(self, model: ModelBroker) -> None:
        self.model = model
        self.executes_at_once = True
        self.reads: list[Read] = []
        self.last_of: dict[asyncio.Task[Any] | None, Read] = {}

    async def position(self, channel: str) -> Snapshot:
        assert channel == CHANNEL
        return await self._ask(self.model.position)

    async def recover(self, channel: str, epoch: str, offset: int, *, limit: int) -> Recovery:
        assert (channel, limit) == (CHANNEL, RECOVERABLE)
        return await self._ask(lambda: self.model.recover(epoch, offset))

    async def _ask(self, execute: Callable[[], Any]) -> Any:
        read = Read(execute, at_once=self.executes_at_once)
        self.reads.append(read)
        self.last_of[asyncio.current_task()] = read
        try:
            return await read.future
        finally:
            self.reads.remove(read)


class Source:
    """What the feed listens to."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Publication] = asyncio.Queue()
        self.on_subscribed: Callable[[Sequence[int]], None] | None = None

    async def listen(
        self, partitions: Sequence[int], *, on_subscribed: Callable[[Sequence[int]], None] | None = None
    ) -> AsyncIterator[Publication]:
        assert on_subscribed is not None
        self.on_subscribed = on_subscribed
        on_subscribed(partitions)
        while True:
            yield await self.queue.get()


class Members:
    """A listener of the hub."""

    def __init__(self) -> None:
        self.now: set[str] = set()

    def on_join(self, channel: str, subscriber_id: str) -> None:
        assert channel == CHANNEL
        assert subscriber_id not in self.now
        self.now.add(subscriber_id)

    def on_leave(self, channel: str, subscriber_id: str) -> None:
        assert channel == CHANNEL
        self.now.remove(subscriber_id)


class Client:
    """A connection and the page behind it in one; checks every publication against the model."""

    def __init__(self, hub: Hub, model: ModelBroker, number: int) -> None:
        self.id = f"client-{number}"
        self.hub = hub
        self.model = model
        self.epoch = ""
        self.offset = 0
        self.subscribed = False
        self.closed: CloseCode | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def subscribing(self) -> bool:
        return self.task is not None and not self.task.done()

    def backlog(self) -> int:
        return 0

    def write(self, frame: bytes) -> None:
        start = {126: 4, 127: 10}.get(frame[1], 2)
        message = json.loads(frame[start:])
        assert (message["type"], message["channel"]) == ("publications", CHANNEL)
        assert self.subscribed, "a frame before the answer, or after the end"
        self.take(message["publications"])

    def take(self, publications: list[dict[str, Any]]) -> None:
        for publication in publications:
            made = self.model.log[self.epoch][self.offset]
            assert publication == {
                "channel": CHANNEL,
                "epoch": self.epoch,
                "offset": self.offset + 1,
                "kind": made.kind,
                "state": json.loads(bytes(made.state)),
            }
            self.offset += 1

    async def subscribe(self, history: DeferredHistory, position: Snapshot | None) -> Recovery | None:
        """Subscribe as a page does; return what the broker had answered, None if it did not."""
        epoch = None if position is None else position.epoch
        offset = 0 if position is None else position.offset
        try:
            answer = await self.hub.subscribe(self, CHANNEL, epoch, offset)
        except StoreUnavailable:
            return None
        read = history.last_of.pop(asyncio.current_task()).answer
        if isinstance(read, Snapshot):
            read = Recovery(read.epoch, read.offset, recovered=True, publications=[])
        # Recovered whenever that is possible, refused whole where it is not.
        assert answer.recovered == read.recovered
        assert answer.epoch == read.epoch
        if not answer.recovered:
            assert (answer.offset, answer.publications) == (read.offset, [])
            return read
        self.closed = None
        self.subscribed = True
        self.epoch = answer.epoch
        self.offset = offset if epoch is not None else answer.offset - len(answer.publications)
        assert epoch is not None or self.offset == read.offset
        self.take([json.loads(one) for one in answer.publications])
        assert self.offset == answer.offset >= read.offset
        return read

    def close(self, code: CloseCode, *, reconnect_after_ms: int = 0) -> None:
        assert self.closed is None
        assert code is CloseCode.INSUFFICIENT_STATE
        self.closed = code
        self.leave()

    def leave(self) -> None:
        if self.subscribed:
            self.subscribed = False
            self.hub.unsubscribe(self, CHANNEL)


class Following(RuleBasedStateMachine):
    """A hub, its feed and clients; the broker answers when the machine says."""

    reached: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        # Frames are written by callbacks of the loop, whose exceptions would only be logged.
        self.faults: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.faults.append(context))
        self.model = ModelBroker(RECOVERABLE)
        self.history = DeferredHistory(self.model)
        self.source = Source()
        limits = ChannelLimits(
            partitions=PARTITIONS,
            window_s=0,
            max_backlog_bytes=1000,
            recovery_publications=RECOVERABLE,
            retry_s=0,
            unverified_s=float("inf"),
        )
        self.hub = Hub(self.history, limits)
        self.members = Members()
        self.hub.add_listener(self.members)
        self.clients = [Client(self.hub, self.model, number) for number in range(3)]
        self.feed_is_up = True
        self.publications = 0
        """How many since the epoch began, the feed was lost, or a read failed: those must not crowd out all else."""
        self.unnoticed = False
        """Whether something was not delivered and nothing since could have revealed it."""
        feed = Feed(self.source, self.hub, partitions=PARTITIONS, check_interval_s=float("inf"))
        self.feed = self.loop.create_task(feed.listen())
        self.turn()

    def turn(self, turns: int = 8) -> None:
        async def give_way() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.loop.run_until_complete(give_way())
        assert not self.faults
        for client in self.clients:
            if client.task is not None and client.task.done():
                client.task.result()

    def call(self, action: Callable[[], Any]) -> None:
        async def run() -> None:
            action()

        self.loop.run_until_complete(run())
        self.turn()

    @initialize()
    def first_subscriber(self) -> None:
        """Most hazards need a channel that has its position already."""
        self.clients[0].task = self.loop.create_task(self.follow(self.clients[0], None))
        self.turn()
        self.settle()

    @rule(at_once=st.booleans())
    def change_the_speed_of_reads(self, at_once: bool) -> None:
        self.history.executes_at_once = at_once

    @rule(count=st.integers(1, 3), delivered=st.sampled_from([True, True, False]))
    def publish(self, count: int, delivered: bool) -> None:
        reading = [read for read in self.history.reads if read.answer is not None]
        for _ in range(count):
            publication = self.model.publish()
            self.publications += 1
            if delivered and self.feed_is_up:
                self.source.queue.put_nowait(publication)
                self.unnoticed = False
            else:
                self.unnoticed = True
        self.turn()
        if delivered and self.feed_is_up:
            self.reached["published while a history was read"] += bool(reading) and any(
                client.subscribing for client in self.clients
            )
            self.reached["published while two were subscribing"] += (
                sum(client.subscribing for client in self.clients) > 1
            )

    @precondition(lambda self: self.publications > 4)
    @rule()
    def begin_another_epoch(self) -> None:
        self.publications = 0
        self.model.begin_epoch()
        self.unnoticed = True
        self.reached["another epoch while a history was read"] += any(
            read.answer is not None for read in self.history.reads
        )

    @precondition(lambda self: self.feed_is_up and self.publications > 3)
    @rule()
    def lose_the_feed(self) -> None:
        self.publications = 0
        self.feed_is_up = False

    @precondition(lambda self: not self.feed_is_up)
    @rule()
    def subscribe_the_feed_again(self) -> None:
        self.reached["a gap when the feed came back"] += self.unnoticed and any(
            client.subscribed for client in self.clients
        )
        self.feed_is_up = True
        self.unnoticed = False
        assert self.source.on_subscribed is not None
        on_subscribed = self.source.on_subscribed
        self.call(lambda: on_subscribed([partition_of(CHANNEL, PARTITIONS)]))

    @rule()
    def check_positions(self) -> None:
        self.unnoticed = False
        self.call(lambda: self.hub.check_positions(range(PARTITIONS)))

    @precondition(lambda self: any(not client.subscribed and not client.subscribing for client in self.clients))
    @rule(data=st.data(), kind=st.sampled_from(["fresh", "snapshot", "earlier", "continue", "nonsense"]))
    def subscribe(self, data: st.DataObject, kind: str) -> None:
        idle = [client for client in self.clients if not client.subscribed and not client.subscribing]
        client = data.draw(st.sampled_from(idle))
        positions = {
            "fresh": None,
            "snapshot": self.model.position(),
            "earlier": Snapshot(self.model.epoch, max(0, self.model.top - data.draw(st.integers(0, 6)))),
            "continue": Snapshot(client.epoch or self.model.epoch, client.offset),
            "nonsense": Snapshot(self.model.epoch, self.model.top + 3),
        }

        client.task = self.loop.create_task(self.follow(client, positions[kind]))
        self.turn()

    async def follow(self, client: Client, position: Snapshot | None) -> None:
        answer = await client.subscribe(self.history, position)
        if answer is None:
            self.reached["a subscription failed"] += 1
        elif not answer.recovered:
            self.reached["a subscription was refused"] += 1
        elif client.offset > answer.offset:
            self.reached["a history and what was kept were merged"] += 1

    @precondition(lambda self: any(client.subscribed for client in self.clients[1:]))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.call(data.draw(st.sampled_from([client for client in self.clients[1:] if client.subscribed])).leave)

    @precondition(lambda self: self.history.reads)
    @rule(data=st.data())
    def answer_read(self, data: st.DataObject) -> None:
        read = self.history.reads[data.draw(st.integers(0, len(self.history.reads) - 1))]
        self.call(read.deliver)

    @precondition(lambda self: self.history.reads and self.publications > 3)
    @rule(data=st.data())
    def fail_read(self, data: st.DataObject) -> None:
        self.publications = 0
        read = self.history.reads[data.draw(st.integers(0, len(self.history.reads) - 1))]
        # Without a further read the next routine check has to find what is missing.
        self.unnoticed = True
        self.call(read.fail)

    @rule()
    def settle(self) -> None:
        for _ in range(20):
            if not self.history.reads:
                break
            for read in list(self.history.reads):
                self.call(read.deliver)
        assert not self.history.reads
        self.turn()
        following = {client.id for client in self.clients if client.subscribed}
        assert self.members.now == following
        assert len(self.hub) == bool(following)
        assert self.hub.members().get(CHANNEL, []) == [] or set(self.hub.members()[CHANNEL]) == following
        if not self.unnoticed:
            for client in self.clients:
                if client.subscribed:
                    assert (client.epoch, client.offset) == (self.model.epoch, self.model.top)

    def teardown(self) -> None:
        try:
            self.check_positions()
            self.settle()
            for client in self.clients:
                self.call(client.leave)
            assert len(self.hub) == 0
        finally:
            tasks = [self.feed, *(client.task for client in self.clients if client.task is not None)]
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.close()


def test_no_interleaving_makes_a_gap_a_duplicate_or_a_needless_snapshot() -> None:
    Following.reached.clear()
    run_state_machine_as_test(
        Following,
        settings=settings(max_examples=400, stateful_step_count=50, deadline=None, phases=WITHOUT_EXPLANATION),
    )
    # A run that does not get there proves nothing about it.
    assert {hazard for hazard, times in Following.reached.items() if times} == {
        "a gap when the feed came back",
        "a history and what was kept were merged",
        "a subscription failed",
        "a subscription was refused",
        "another epoch while a history was read",
        "published while a history was read",
        "published while two were subscribing",
    }


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
    async with asyncio.timeout(10):
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
