"""Points as InfluxDB's line protocol, formatted by hand: ten times as fast as the client library's ``Point``.

Every event gives one line of ``activity``, every ended run also one of ``cell_execution``, and every failed run one of
``errors``. InfluxDB identifies a point by measurement, tags and time, and silently overwrites: so the time below the
millisecond is taken from the event id. The same event of the same person always gives the same point, and two events of one
person, course and type meet, if they are of one millisecond, with a chance of one in a million.

The person is a tag, because InfluxDB 2 deletes by tags and time only (docs/adr/0013). All other tags are few-valued, for
each combination of them is a series; ids of notebooks and cells are fields. The field ``student`` repeats the person, for
counting; points of earlier releases have the field alone.
https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from uuid import UUID

from cell_monitor_core.storage.ports import TimeSeriesPoint

__all__ = ["ACTIVITY", "CELL_EXECUTION", "ERRORS", "KNOWN_ERRORS", "clean_tag", "format_point", "timestamp"]

ACTIVITY: Final = "activity"
CELL_EXECUTION: Final = "cell_execution"
ERRORS: Final = "errors"

OTHER_ERROR: Final = "other"
KNOWN_ERRORS: Final = frozenset(
    [
        "ArithmeticError",
        "AssertionError",
        "AttributeError",
        "BlockingIOError",
        "BrokenPipeError",
        "BufferError",
        "ConnectionError",
        "ConnectionRefusedError",
        "ConnectionResetError",
        "DeprecationWarning",
        "EOFError",
        "Exception",
        "FileExistsError",
        "FileNotFoundError",
        "FloatingPointError",
        "ImportError",
        "IndentationError",
        "IndexError",
        "IsADirectoryError",
        "KeyError",
        "KeyboardInterrupt",
        "LinAlgError",
        "LookupError",
        "MemoryError",
        "ModuleNotFoundError",
        "NameError",
        "NotADirectoryError",
        "NotImplementedError",
        "OSError",
        "OverflowError",
        "PermissionError",
        "RecursionError",
        "RuntimeError",
        "StopIteration",
        "SyntaxError",
        "SystemExit",
        "TabError",
        "TimeoutError",
        "TypeError",
        "UnboundLocalError",
        "UnicodeDecodeError",
        "UnicodeEncodeError",
        "UnicodeError",
        "ValueError",
        "ZeroDivisionError",
    ]
)
"""Values of the tag ``error``; all other classes, which students may invent, are ``other``."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_RANDOM_BITS: Final = (1 << 62) - 1
_NS_PER_MS: Final = 1_000_000

_CONTROL: Final = dict.fromkeys((*range(32), 127), "_")
# A backslash cannot be written at a tag's end: there is no escape for it.
_CLEAN_TAG: Final = {**_CONTROL, ord("\\"): "/"}
_ESCAPE_TAG: Final = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})
_ESCAPE_FIELD: Final = str.maketrans({'"': r"\"", "\\": r"\\"})


def clean_tag(value: str) -> str:
    """Return a tag's value as it is stored: control characters become ``_``, a backslash ``/``."""
    return value.translate(_CLEAN_TAG)


@lru_cache(maxsize=4096)
def _tag(value: str) -> str:
    return clean_tag(value).translate(_ESCAPE_TAG)


@lru_cache(maxsize=16384)
def _text(value: str) -> str:
    return value.translate(_ESCAPE_FIELD)


@lru_cache(maxsize=16384)
def _person(person_id: UUID) -> str:
    return str(person_id)


@lru_cache(maxsize=4096)
def _prefix(measurement: str, course: str, error: str, status: str, kind: str) -> tuple[str, str]:
    """Return what comes before and after the person; tags sorted by key, as InfluxDB reads them fastest."""
    before = measurement
    if course:
        before += f",course={_tag(course)}"
    if error:
        before += f",error={_tag(error)}"
    after = ""
    if status:
        after += f",status={_tag(status)}"
    if kind:
        after += f",type={_tag(kind)}"
    return f"{before},person=", f"{after} "


def timestamp(point: TimeSeriesPoint) -> int:
    """Return the point's time in nanoseconds since the epoch, a function of the event alone."""
    random = point.event_id.int
    # The 12 and the 62 random bits of a UUIDv7 (RFC 9562, 5.7), without version and variant between them.
    random = ((random >> 64) & 0xFFF) << 62 | random & _RANDOM_BITS
    return ((point.at - _EPOCH) // _MILLISECOND) * _NS_PER_MS + random % _NS_PER_MS


def format_point(point: TimeSeriesPoint) -> str:
    """Return an event's one to three lines, joined by a line feed.

    Fields: ``student`` always, ``notebook`` and ``cell`` where known; ``cell_execution`` has ``duration_ms``, an integer,
    and ``errors`` the class's full ``name``.
    """
    nanoseconds = timestamp(point)
    person = _person(point.person_id)
    fields = f'student="{person}"'
    if point.notebook_id:
        fields += f',notebook="{_text(point.notebook_id)}"'
    if point.cell_id:
        fields += f',cell="{_text(point.cell_id)}"'
    course = point.course_id
    before, after = _prefix(ACTIVITY, course, "", point.status, point.type)
    lines = f"{before}{person}{after}{fields} {nanoseconds}"
    if point.type == "cell_executed":
        before, after = _prefix(CELL_EXECUTION, course, "", point.status, "")
        duration = "" if point.duration_ms is None else f",duration_ms={point.duration_ms}i"
        lines += f"\n{before}{person}{after}{fields}{duration} {nanoseconds}"
        if point.status == "error":
            name = point.error_name
            known = name if name in KNOWN_ERRORS else OTHER_ERROR
            before, after = _prefix(ERRORS, course, known, "", "")
            lines += f'\n{before}{person}{after}{fields},name="{_text(name)}" {nanoseconds}'
    return lines
