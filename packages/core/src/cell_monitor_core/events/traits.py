"""The traits of event types: what the services do with events of a type."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

__all__ = ["EventType"]


class EventType(NamedTuple):
    """One event type, as its schema describes it (``schemas/envelope.yaml`` lists the traits).

    Attributes:
        name: the event's ``type``.
        struct: what an event of it is read into.
        version: the newest ``schema_version`` that is read; the one before it is read too.
        activity: the student caused it, or waited for it: it moves "last activity".
        place: it is an act of the student in its notebook and cell: that is where the student is.
        urgent: the extension sends it within 100 ms; other types are sent with it or wait up to 10 s.
        notices: the answer to it carries the student's notices.
        program: property of ``data`` and its value where a program caused the event: then it is neither activity nor
            place, whatever the type is otherwise.
        ends_runs: whose runs it ends: those of its notebook (the kernel is gone) or of its session.
        personal: paths of the properties that hold personal data, such as ``data.outputs[].text``.
    """

    name: str
    struct: type[msgspec.Struct]
    version: int
    activity: bool
    place: bool
    urgent: bool
    notices: bool
    program: tuple[str, bool | str] | None
    ends_runs: Literal["notebook", "session"] | None
    personal: tuple[str, ...]
