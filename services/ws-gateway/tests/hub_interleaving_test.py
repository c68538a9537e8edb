"""Hazard: a subscriber gets a gap, a duplicate or nothing, because publications and its own history overlap in time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from cell_monitor_core.channels import partition_of
from cell_monitor_core.publications import Snapshot, Watermark
from cell_monitor_gateway.channel import ChannelLimits
from cell_monitor_gateway.feed import Feed
from cell_monitor_gateway.hub import Hub
from cell_monitor_testing.hub_clients import Client, Members, Source
from cell_monitor_testing.model_broker import CHANNEL, DeferredHistory, ModelBroker

PARTITIONS = 8
RECOVERABLE = 4
# Explaining a failure takes minutes here, and more than a test may take.
WITHOUT_EXPLANATION = [phase for phase in Phase if phase is not Phase.explain]


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
        self.beats = 0
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

    @initialize(followed=st.sampled_from([True, True, False]))
    def first_subscriber(self, followed: bool) -> None:
        """Most hazards need a channel that has its position already, some a new one."""
        if not followed:
            return
        self.clients[0].task = self.loop.create_task(self.follow(self.clients[0], None))
        self.turn()
        self.settle()

    @rule(at_once=st.booleans())
    def change_the_speed_of_reads(self, at_once: bool) -> None:
        self.history.executes_at_once = at_once

    @rule(count=st.integers(1, 3), delivered=st.sampled_from([True, True, False]))
    def publish(self, count: int, delivered: bool) -> None:
        is_new = not any(client.subscribed for client in self.clients)
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
            two = sum(client.subscribing for client in self.clients) > 1
            self.reached["published while two were subscribing"] += two
            self.reached["published while two were subscribing to a new channel"] += two and is_new

    @precondition(lambda self: self.feed_is_up)
    @rule()
    def send_a_watermark(self) -> None:
        self.beats += 1
        before = [(client, client.watermark) for client in self.clients if client.subscribed]
        lost = self.unnoticed
        self.source.queue.put_nowait(Watermark(CHANNEL, self.model.epoch, self.model.top, self.beats, self.beats))
        # It shows what was lost: the history is read.
        self.unnoticed = False
        self.turn()
        self.reached["a watermark waited for what it counts"] += lost and any(
            client.subscribed and client.watermark == seen for client, seen in before
        )
        self.reached["a watermark was sent"] += any(client.watermark == self.beats for client in self.clients)

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
        settings=settings(max_examples=400, stateful_step_count=50, phases=WITHOUT_EXPLANATION),
    )
    # A run that does not get there proves nothing about it.
    assert {hazard for hazard, times in Following.reached.items() if times} == {
        "a gap when the feed came back",
        "a history and what was kept were merged",
        "a subscription failed",
        "a subscription was refused",
        "a watermark was sent",
        "a watermark waited for what it counts",
        "another epoch while a history was read",
        "published while a history was read",
        "published while two were subscribing",
        "published while two were subscribing to a new channel",
    }
