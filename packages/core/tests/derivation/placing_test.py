"""Hazards: a claimed wait or a wrong clock puts a run before or behind one of the same session, or before the session itself."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.derivation.facts import Fact, fact_key
from cell_monitor_core.derivation.placing import Arrival, Neighbours, is_late, place
from cell_monitor_core.derivation.sessions import SessionFold

NOW = 1_775_034_000_000
MINUTE = 60_000


def arrival(seq: int, *, waited: int = 0, session: str = "s", received: int = NOW) -> Arrival:
    """A fact as the API received it; its sender's clock is hours off in another direction each time."""
    clock = received + (-1) ** seq * seq * 3_600_000
    fact = Fact(received - waited, f"{session}-{seq}", "cell_edited", session, seq, occurred=clock)
    return Arrival(fact, received)


class Store:
    """What was stored of one student's sessions, without PostgreSQL."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def add(self, *arrivals: Arrival) -> list[Fact]:
        sessions: dict[str, SessionFold] = {}
        for fact in self.facts:
            sessions.setdefault(fact.session, SessionFold()).add(fact)
        near = {
            (fact.session, fact.seq): Neighbours(
                max((each.at for each in self._of(fact) if each.seq < fact.seq), default=None),
                min((each.at for each in self._of(fact) if each.seq > fact.seq), default=None),
            )
            for fact, _ in arrivals
            if is_late(fact, sessions.get(fact.session))
        }
        placed = place(arrivals, sessions, near)
        self.facts += placed
        return placed

    def _of(self, fact: Fact) -> Iterable[Fact]:
        return (each for each in self.facts if each.session == fact.session)

    def order(self) -> list[str]:
        return [fact.id for fact in sorted(self.facts, key=fact_key)]


def test_a_known_session_may_say_that_a_request_waited() -> None:
    store = Store()
    store.add(arrival(1, received=NOW - 60 * MINUTE))
    (asked,) = store.add(arrival(2, waited=20 * MINUTE))
    assert asked.at == NOW - 20 * MINUTE


def test_nothing_is_older_than_the_first_receipt_of_its_session() -> None:
    store = Store()
    first, asked = store.add(arrival(1, waited=600 * MINUTE), arrival(2, waited=20 * MINUTE))
    assert (first.at, asked.at) == (NOW, NOW)
    (later,) = store.add(arrival(3, waited=600 * MINUTE, received=NOW + 5000))
    assert later.at == NOW


def test_a_request_cannot_have_waited_for_longer_than_since_the_event_before_it() -> None:
    store = Store()
    store.add(arrival(1, received=NOW - 60 * MINUTE))
    store.add(arrival(2, received=NOW - MINUTE))
    # The clock was set forward by ten hours in between.
    (asked,) = store.add(arrival(3, waited=600 * MINUTE))
    assert asked.at == NOW - MINUTE


def test_a_late_event_takes_its_place_between_its_neighbours_and_makes_none_of_them_new() -> None:
    store = Store()
    store.add(arrival(1, received=NOW), arrival(2, received=NOW + 1000), arrival(5, received=NOW + 4000))
    fourth, third = store.add(arrival(4, received=NOW + 90_000), arrival(3, received=NOW + 90_000, waited=88_500))
    assert NOW + 1000 <= third.at <= fourth.at <= NOW + 4000
    assert store.order() == ["s-1", "s-2", "s-3", "s-4", "s-5"]


def test_events_of_one_moment_are_in_the_order_of_their_numbers_and_not_of_their_ids() -> None:
    store = Store()
    store.add(*(arrival(seq) for seq in (10, 9, 11, 2)))
    assert store.order() == ["s-2", "s-9", "s-10", "s-11"]


@pytest.mark.parametrize("order", [1, -1])
def test_two_page_loads_of_an_outage_stay_in_their_order_although_both_come_at_once(order: int) -> None:
    store = Store()
    before = [arrival(seq, session="z", waited=(30 - seq) * MINUTE) for seq in range(1, 6)]
    after = [arrival(seq, session="a", waited=(20 - seq) * MINUTE) for seq in range(1, 4)]
    store.add(*[*before, *after][::order])
    assert store.order() == ["z-1", "z-2", "z-3", "z-4", "z-5", "a-1", "a-2", "a-3"]
    assert all(abs(fact.at - NOW) <= 1 for fact in store.facts)


def test_clocks_of_two_apis_that_differ_a_little_do_not_turn_a_session_around() -> None:
    store = Store()
    store.add(arrival(1, received=NOW + 300))
    (second,) = store.add(arrival(2, received=NOW))
    assert second.at == NOW + 300


ARRIVALS = st.lists(
    st.builds(
        arrival,
        st.integers(1, 12),
        waited=st.integers(0, 7 * 24 * 60 * MINUTE),
        session=st.sampled_from("ab"),
        received=st.integers(NOW, NOW + 1000),
    ),
    max_size=20,
    unique_by=lambda each: each.fact.id,
)


@given(st.lists(ARRIVALS, max_size=4))
def test_whatever_is_claimed_and_in_whatever_order_it_comes_numbers_order_a_session(
    batches: list[list[Arrival]],
) -> None:
    store = Store()
    seen: set[str] = set()
    for batch in batches:
        new = [each for each in batch if each.fact.id not in seen]
        seen |= {each.fact.id for each in new}
        store.add(*new)
    for session in "ab":
        own = [fact for fact in sorted(store.facts, key=fact_key) if fact.session == session]
        assert [fact.seq for fact in own] == sorted(fact.seq for fact in own)
    # Never before the server knew the student, and in the future by no more than sessions that were set apart.
    assert all(NOW <= fact.at <= NOW + 1000 + len(batches) for fact in store.facts)
