"""Hazard: a request for help ends before it was made, because the next one claims a long wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.derivation.facts import Fact
from cell_monitor_core.derivation.help import HelpFact, turns_of_student


def help_fact(number: int, at: int, cancels: int | None = None) -> HelpFact:
    kind = "help_requested" if cancels is None else "help_cancelled"
    request = None if cancels is None else f"{cancels:08x}"
    return HelpFact(Fact(at, f"{number:08x}", kind, "s", number, request=request, occurred=at), 1000 + number)


def test_a_request_that_the_next_one_replaces_ends_with_it_and_not_before_it_was_made() -> None:
    turns = turns_of_student([help_fact(1, 500), help_fact(2, 900)])
    assert turns["00000001"].cancelled_at == 900
    assert turns["00000002"].cancelled_at is None
    # The second was received later, and claims to have waited since before the first.
    turns = turns_of_student([help_fact(1, 500), help_fact(2, 100)])
    assert turns["00000001"].cancelled_at == 500


@given(
    st.permutations([help_fact(1, 500), help_fact(2, 100), help_fact(3, 700, cancels=2), help_fact(4, 600, cancels=1)])
)
def test_what_ends_a_request_does_not_depend_on_the_order_of_arrival(facts: list[HelpFact]) -> None:
    turns = turns_of_student(facts)
    assert {event_id: turn.cancelled_at for event_id, turn in turns.items()} == {"00000001": 500, "00000002": 700}
