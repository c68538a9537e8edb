"""The one way from a committed state to a publication, for the worker, the API and the commands.

A state is published under its kind and key (``publications``). Older and repeated versions are suppressed by the broker,
so publishing a state again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final, TypeAlias

import msgspec

from cell_monitor_core.publications import CourseState, HelpState, StudentState
from cell_monitor_core.storage.ports import Broker, Draft
from cell_monitor_core.telemetry.metrics import PUBLICATIONS_PUBLISHED, PUBLICATIONS_SUPPRESSED

__all__ = ["Publisher", "State", "draft_of"]

State: TypeAlias = StudentState | HelpState | CourseState

_encode: Final = msgspec.json.Encoder().encode
_MAX_DRAFTS_PER_CALL: Final = 200
"""Drafts of one call to the broker: its script blocks Redis while it runs."""


def draft_of(state: State, *, traceparent: str | None = None, received_at: int | None = None) -> Draft:
    """Return the draft of a state, named by the state's own kind and key.

    Args:
        state: absolute state of one student, help request or course.
        traceparent: W3C trace context of the sampled event that caused it.
        received_at: when the API received the first event that caused it, milliseconds since the epoch.
    """
    match state:
        case StudentState():
            return Draft("student", state.student_id, state.version, _encode(state), traceparent, received_at)
        case HelpState():
            return Draft("help", state.request_id, state.version, _encode(state), traceparent, received_at)
        case CourseState():
            return Draft("course", state.course_id, state.version, _encode(state), traceparent, received_at)


class Publisher:
    """Publishes drafts in bounded calls and counts what was published and what was suppressed.

    Args:
        broker: numbers the publications and keeps their history.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def publish(self, channel: str, drafts: Iterable[Draft]) -> None:
        """Publish drafts on one channel, in order.

        Raises:
            StoreUnavailable: some drafts may be published; publishing all of them again is safe.
        """
        # One kind per call: the broker returns how many drafts it published, not which.
        for kind, group in groupby(drafts, attrgetter("kind")):
            of_kind: Sequence[Draft] = list(group)
            for start in range(0, len(of_kind), _MAX_DRAFTS_PER_CALL):
                chunk = of_kind[start : start + _MAX_DRAFTS_PER_CALL]
                published = await self._broker.publish(channel, chunk)
                PUBLICATIONS_PUBLISHED.labels(kind).inc(published)
                PUBLICATIONS_SUPPRESSED.labels(kind).inc(len(chunk) - published)
