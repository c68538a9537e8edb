"""Hazard: publications of a channel are passed on with a gap, twice, out of order, or of two epochs as if of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cell_monitor_core.publications import Publication, Snapshot
from cell_monitor_core.storage.ports import Recovery
from cell_monitor_gateway.sequencer import (
    Accepted,
    Effect,
    Established,
    GapFilled,
    Lost,
    ReadHistory,
    Sequencer,
)
from cell_monitor_testing.model_broker import CHANNEL, ModelBroker

RECOVERABLE = 4


class Sequencing(RuleBasedStateMachine):
    """A sequencer, a broker as specified, and a feed between them that loses, delays and stops."""

    reached: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.broker = ModelBroker(RECOVERABLE)
        self.sequencer = Sequencer()
        self.feed_is_up = True
        self.passed_by: list[Publication] = []
        """What the feed has not delivered so far."""
        self.unnoticed = False
        """Whether something has not been delivered and nothing since could have revealed it."""
        self.publications = 0
        """How many since the last epoch, loss of the feed or failed read: those must not crowd out all else."""
        self.position: Snapshot | None = None
        """Read from the broker by a subscriber that has not got the answer yet."""
        self.read: ReadHistory | None = None
        self.answer: Recovery | None = None
        self.epoch: str | None = None
        self.offset = 0

    def carry_out(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Established():
                    assert self.epoch is None
                    self.epoch, self.offset = effect.epoch, effect.offset
                case Accepted():
                    for publication in effect.publications:
                        assert publication == self.broker.log[str(self.epoch)][self.offset]
                        self.offset += 1
                case ReadHistory():
                    assert self.read is None
                    assert (effect.epoch, effect.offset) == (self.epoch, self.offset)
                    self.read, self.answer = effect, None
                case GapFilled():
                    assert effect.count > 0
                    self.reached["a gap was filled"] += 1
                case Lost():
                    # Not without need: what was accepted cannot be continued from the history.
                    assert effect.reason == "unverified" or not self.broker.has_recoverable(
                        str(self.epoch), self.offset
                    )
                    self.reached[f"lost: {effect.reason}"] += 1
                    self.epoch = self.read = self.answer = None

    @initialize()
    def first_position(self) -> None:
        """Most hazards need a channel that has its position already."""
        self.read_position()
        self.establish()

    @rule(delivered=st.sampled_from([True, True, False]))
    def publish(self, delivered: bool) -> None:
        publication = self.broker.publish()
        self.publications += 1
        if delivered and self.feed_is_up:
            self.unnoticed = False
            if self.read is not None:
                self.reached["published while the history is read"] += 1
            self.carry_out(self.sequencer.take(publication))
        else:
            self.unnoticed = True
            self.passed_by.append(publication)

    @precondition(lambda self: self.passed_by)
    @rule(data=st.data())
    def deliver_late(self, data: st.DataObject) -> None:
        publication = data.draw(st.sampled_from(self.passed_by))
        self.reached["delivered late"] += 1
        self.carry_out(self.sequencer.take(publication))

    @precondition(lambda self: self.publications > 4)
    @rule()
    def begin_another_epoch(self) -> None:
        self.publications = 0
        self.broker.begin_epoch()
        self.unnoticed = True
        if self.answer is not None or self.position is not None:
            self.reached["another epoch while the history is read"] += 1

    @precondition(lambda self: self.feed_is_up and self.publications > 2)
    @rule()
    def lose_the_feed(self) -> None:
        self.publications = 0
        self.feed_is_up = False

    @precondition(lambda self: not self.feed_is_up)
    @rule()
    def subscribe_the_feed_again(self) -> None:
        if self.unnoticed and self.epoch is not None:
            self.reached["a gap when the feed came back"] += 1
        self.feed_is_up = True
        self.check()

    @rule()
    def check(self) -> None:
        self.unnoticed = False
        self.carry_out(self.sequencer.check())

    @precondition(lambda self: self.position is None)
    @rule()
    def read_position(self) -> None:
        self.position = self.broker.position()

    @precondition(lambda self: self.position is not None)
    @rule()
    def establish(self) -> None:
        assert self.position is not None
        position, self.position = self.position, None
        self.carry_out(self.sequencer.establish(position.epoch, position.offset))

    @precondition(lambda self: self.read is not None and self.answer is None)
    @rule()
    def read_history(self) -> None:
        assert self.read is not None
        self.answer = self.broker.recover(self.read.epoch, self.read.offset)

    @precondition(lambda self: self.answer is not None)
    @rule()
    def answer_read(self) -> None:
        assert self.read is not None
        assert self.answer is not None
        read, answer, self.read, self.answer = self.read, self.answer, None, None
        self.carry_out(self.sequencer.fill(read, answer))

    @precondition(lambda self: self.read is not None and self.publications > 2)
    @rule(give_up=st.sampled_from([False, False, True]))
    def fail_read(self, give_up: bool) -> None:
        self.publications = 0
        assert self.read is not None
        read, self.read, self.answer = self.read, None, None
        self.reached["a read failed"] += 1
        self.carry_out(self.sequencer.fail(read, give_up=give_up))
        # Without a further read the next routine check has to find what is missing.
        self.unnoticed = self.unnoticed or self.read is None

    @rule()
    def settle(self) -> None:
        for _ in range(5):
            if self.read is not None:
                self.read_history()
                self.answer_read()
        assert self.read is None
        if self.epoch is not None and not self.unnoticed:
            assert (self.epoch, self.offset) == (self.broker.epoch, self.broker.top)

    @invariant()
    def position_is_what_was_accepted(self) -> None:
        assert self.sequencer.epoch == self.epoch
        if self.epoch is not None:
            assert self.sequencer.offset == self.offset

    def teardown(self) -> None:
        if self.position is not None:
            self.establish()
        self.check()
        self.settle()


def test_no_order_of_deliveries_losses_and_answers_makes_a_gap_or_a_duplicate() -> None:
    Sequencing.reached.clear()
    run_state_machine_as_test(Sequencing, settings=settings(max_examples=400, stateful_step_count=50))
    # A run that does not get there proves nothing about it.
    assert set(Sequencing.reached) == {
        "a gap was filled",
        "a gap when the feed came back",
        "a read failed",
        "another epoch while the history is read",
        "delivered late",
        "lost: epoch",
        "lost: gap",
        "lost: unverified",
        "published while the history is read",
    }


def publication(offset: int, epoch: str = "e1") -> Publication:
    return Publication(CHANNEL, epoch, offset, "student", msgspec.Raw(b"{}"))


def offsets(effects: Sequence[Effect]) -> list[int]:
    return [one.offset for effect in effects if isinstance(effect, Accepted) for one in effect.publications]


def test_a_publication_of_another_epoch_that_was_only_late_loses_nothing() -> None:
    sequencer = Sequencer()
    sequencer.establish("e2", 7)
    [read] = sequencer.take(publication(3, "e1"))
    assert isinstance(read, ReadHistory)
    [again] = sequencer.fill(read, Recovery("e2", 7, recovered=True, publications=[]))
    assert isinstance(again, ReadHistory)
    assert sequencer.fill(again, Recovery("e2", 7, recovered=True, publications=[])) == []
    assert offsets(sequencer.take(publication(8, "e2"))) == [8]


def test_a_broker_that_went_back_within_an_epoch_loses_the_position() -> None:
    sequencer = Sequencer()
    sequencer.establish("e1", 5)
    [read] = sequencer.take(publication(9))
    assert isinstance(read, ReadHistory)
    # It published 9 and now knows of 6 only, as after a failover that lost writes.
    assert sequencer.fill(read, Recovery("e1", 6, recovered=True, publications=[publication(6)])) == [Lost("gap")]


@pytest.mark.parametrize("found", [[7, 8], [6, 8], [6, 7], [6, 7, 8, 9]])
def test_an_answer_that_is_not_all_of_the_history_is_not_passed_on(found: list[int]) -> None:
    sequencer = Sequencer()
    sequencer.establish("e1", 5)
    [read] = sequencer.check()
    assert isinstance(read, ReadHistory)
    answer = Recovery("e1", 8, recovered=True, publications=[publication(offset) for offset in found])
    assert sequencer.fill(read, answer) == [Lost("gap")]


def test_an_answer_to_a_read_that_is_over_changes_nothing() -> None:
    sequencer = Sequencer()
    sequencer.establish("e1", 5)
    [read] = sequencer.check()
    assert isinstance(read, ReadHistory)
    lost, established, _ = sequencer.establish("e2", 1)
    assert (lost, established) == (Lost("epoch"), Established("e2", 1))
    assert sequencer.fill(read, Recovery("e2", 1, recovered=False, publications=[])) == []
    assert sequencer.fail(read, give_up=True) == []
    assert (sequencer.epoch, sequencer.offset) == ("e2", 1)


def test_what_does_not_fit_the_buffer_is_read_from_the_history() -> None:
    sequencer = Sequencer(max_buffered=3)
    for offset in range(6, 12):
        assert sequencer.take(publication(offset)) == []
    effects = sequencer.establish("e1", 5)
    assert offsets(effects) == [6, 7, 8]
    read = effects[-1]
    assert isinstance(read, ReadHistory)
    rest = [publication(offset) for offset in range(9, 12)]
    assert offsets(sequencer.fill(read, Recovery("e1", 11, recovered=True, publications=rest))) == [9, 10, 11]
