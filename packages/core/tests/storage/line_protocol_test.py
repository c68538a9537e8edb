"""Line protocol: what we write is what a reader of the format reads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.storage.influxdb.line_protocol import KNOWN_ERRORS, clean_tag, format_point, timestamp
from cell_monitor_core.storage.ports import TimeSeriesPoint

START = datetime(2026, 4, 1, 9, tzinfo=UTC)


def _until(text: str, position: int, stops: str) -> tuple[str, int]:
    """Read an unquoted item; a backslash keeps its meaning only before a character that needs it."""
    item = ""
    while position < len(text) and text[position] not in stops:
        if text[position] == "\\" and position + 1 < len(text) and text[position + 1] in ",= ":
            position += 1
        item += text[position]
        position += 1
    return item, position


def _field(text: str, position: int) -> tuple[str | int, int]:
    if text[position] != '"':
        raw, position = _until(text, position, ", ")
        assert raw.endswith("i")
        return int(raw[:-1]), position
    value, position = "", position + 1
    while text[position] != '"':
        if text[position] == "\\" and text[position + 1] in '"\\':
            position += 1
        value += text[position]
        position += 1
    return value, position + 1


Line = tuple[str, dict[str, str], dict[str, str | int], int]


def parse(text: str) -> Iterator[Line]:
    """An independent reader of InfluxDB 2's line protocol, as its reference describes it."""
    position = 0
    while position < len(text):
        measurement, position = _until(text, position, ", ")
        tags: dict[str, str] = {}
        while text[position] == ",":
            key, position = _until(text, position + 1, "=")
            tags[key], position = _until(text, position + 1, ", ")
        assert text[position] == " "
        fields: dict[str, str | int] = {}
        while text[position] in " ,":
            if text[position] == " " and fields:
                break
            key, position = _until(text, position + 1, "=")
            fields[key], position = _field(text, position + 1)
        moment, position = _until(text, position + 1, "\n")
        yield measurement, tags, fields, int(moment)
        position += 1


awkward = st.one_of(
    st.text(max_size=30),
    st.text(alphabet=",= \"\\\n\t\x00\r'#日ab", max_size=12),
    st.sampled_from(["\\", '"', "a\\", '\\"', "a b", "a,b=c", "\n"]),
)
points = st.builds(
    TimeSeriesPoint,
    person_id=st.uuids(),
    event_id=st.integers(0, 2**128 - 1).map(lambda value: UUID(int=value)),
    at=st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    type=st.one_of(st.sampled_from(["cell_executed", "heartbeat"]), awkward),
    course_id=awkward,
    notebook_id=awkward,
    cell_id=awkward,
    status=st.one_of(st.sampled_from(["ok", "error", ""]), awkward),
    error_name=st.one_of(st.sampled_from(sorted(KNOWN_ERRORS)), awkward),
    duration_ms=st.one_of(st.none(), st.integers(0, 2**63 - 1)),
)


@given(points)
def test_whatever_is_in_a_point_reads_back_as_it_was(point: TimeSeriesPoint):
    lines = list(parse(format_point(point)))
    executed = point.type == "cell_executed"
    wanted = ["activity"] + ["cell_execution"] * executed + ["errors"] * (executed and point.status == "error")
    assert [measurement for measurement, *_ in lines] == wanted
    nanoseconds = timestamp(point)
    for measurement, tags, fields, moment in lines:
        assert moment == nanoseconds
        # InfluxDB 2 deletes by tags: without this one nobody's points could be erased.
        assert tags.pop("person") == str(point.person_id)
        assert tags.pop("course", "") == clean_tag(point.course_id)
        assert fields.pop("student") == str(point.person_id)
        assert fields.pop("notebook", "") == point.notebook_id
        assert fields.pop("cell", "") == point.cell_id
        if measurement == "errors":
            assert tags.pop("error") == (point.error_name if point.error_name in KNOWN_ERRORS else "other")
            assert fields.pop("name") == point.error_name
        else:
            assert tags.pop("status", "") == clean_tag(point.status)
        if measurement == "activity":
            assert tags.pop("type", "") == clean_tag(point.type)
        if measurement == "cell_execution":
            assert fields.pop("duration_ms", None) == point.duration_ms
        assert (tags, fields) == ({}, {})


@given(points)
def test_a_point_is_a_function_of_its_event_and_stays_in_its_millisecond(point: TimeSeriesPoint):
    nanoseconds = timestamp(point)
    assert timestamp(point) == nanoseconds
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=nanoseconds // 1_000_000)
    assert timedelta(0) <= point.at - at < timedelta(milliseconds=1)


@given(st.integers(0, 2**74 - 1), st.integers(1, 1_000_000 - 1))
def test_ids_that_differ_by_less_than_a_million_never_share_a_time(random: int, step: int):
    def point(value: int) -> TimeSeriesPoint:
        value %= 2**74
        number = 1 << 80 | 7 << 76 | (value >> 62) << 64 | 0b10 << 62 | value & (1 << 62) - 1
        return TimeSeriesPoint(UUID(int=1), UUID(int=number), START, "heartbeat", "c1")

    if random + step < 2**74:
        assert timestamp(point(random)) != timestamp(point(random + step))


def test_classes_that_students_invent_do_not_become_series():
    def tag(name: str) -> str:
        point = TimeSeriesPoint(UUID(int=1), UUID(int=1), START, "cell_executed", "c1", status="error", error_name=name)
        return list(parse(format_point(point)))[-1][1]["error"]

    assert [tag("NameError"), tag("MyError1"), tag("MyError2"), tag("")] == ["NameError", "other", "other", "other"]
