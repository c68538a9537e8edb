"""Hazards: a hostile body brings the API down, one bad event costs its neighbours, a fault has the wrong reason."""

import contextlib
import json
import time
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.events.codec import EventError, RequestError, decode_event, decode_request
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.events.types import CellExecuted, Heartbeat

NOW = 1_775_034_000_000


def id_at(ms):
    text = f"{ms:012x}"
    return f"{text[:8]}-{text[8:]}-7000-8000-000000000000"


def heartbeat(**changes):
    return {
        "event_id": id_at(NOW),
        "type": "heartbeat",
        "schema_version": 1,
        "occurred_at": "2026-04-01T09:00:00.123Z",
        "session_id": "0190a0a0-0000-4000-8000-000000000000",
        "seq": 1,
        "data": {"queued": 0, "dropped": 0, "visible": True},
    } | changes


def read(event):
    return decode_event(json.dumps(event).encode())


def refusal(event):
    with pytest.raises(EventError) as caught:
        read(event)
    return caught.value


# Requests


@pytest.mark.parametrize(
    "body",
    [
        b'{"events":[]}',
        b' \r\n\t{ "events" : [ ] } \n',
        b'{"events":[{"a":1},{"b":[{"events":[]}]}]}',
        b'{"\\u0065vents":[{"a":1}]}',
        b'{"events":[{"a":"}"}]}',
    ],
)
def test_well_formed_requests_are_split(body):
    assert [json.loads(bytes(raw)) for raw in decode_request(body).events] == json.loads(body)["events"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "must be"),
        (b"[]", "must be"),
        (b"null", "must be"),
        (b"{}", "events"),
        (b'{"events":null}', "must be"),
        (b'{"events":{}}', "must be"),
        (b'{"events":[]', "must be"),
        (b'{"events":[],}', "must be"),
        (b'{"events":[]}{"events":[]}', "must be"),
        (b'{"events":[]} x', "must be"),
        (b'{"events":[1,]}', "must be"),
        (b'{"events":[],"test_id":"t"}', "test_id"),
        (b'{"test_id":"t","events":[]}', "test_id"),
        (b'{"events":[],"events":[]}', "more than once"),
        (b'{"events":[{"a":1}],"events":[{"b":2}]}', "more than once"),
        (b'{"events":[],"\\u0065vents":[]}', "more than once"),
        (
            b'{"sent_at":"2026-04-01T09:00:00Z","events":[],"sent_at":"2026-04-01T09:00:00Z"}',
            '"sent_at" more than once',
        ),
        (b'{"sent_at":17,"events":[]}', "sent_at"),
        (b'{"waited_ms":[1],"events":[]}', "one number of milliseconds for each event"),
        (b'{"waited_ms":["1"],"events":[{}]}', "waited_ms"),
        (b'{"waited_ms":[1.5],"events":[{}]}', "waited_ms"),
        (b'{"waited_ms":[1,],"events":[{}]}', "must be"),
        (b'{"events":[{"a":"\xff"}]}', "not UTF-8 at byte"),
        (b'\xef\xbb\xbf{"events":[]}', "must be"),
        (b'{"events":[NaN]}', "must be"),
        (b'{"events":[' + b"[" * 50_000 + b"]" * 50_000 + b"]}", "nested too deeply"),
        (b'{"events":[' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"]}", "nested too deeply"),
    ],
)
def test_malformed_requests_are_refused_with_advice(body, message):
    with pytest.raises(RequestError, match=message) as caught:
        decode_request(body)
    assert (caught.value.reason, caught.value.status_code) == ("invalid_body", 400)


def test_bounds_of_a_request():
    assert len(decode_request(b'{"events":[' + b",".join([b"{}"] * 200) + b"]}").events) == 200
    with pytest.raises(RequestError, match="201 events") as caught:
        decode_request(b'{"events":[' + b",".join([b"{}"] * 201) + b"]}")
    assert (caught.value.reason, caught.value.status_code) == ("too_many_events", 413)
    with pytest.raises(RequestError) as caught:
        decode_request(b'{"events":["' + b"x" * 1024 * 1024 + b'"]}')
    assert (caught.value.reason, caught.value.status_code) == ("body_too_large", 413)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_the_codecs_error(body):
    for prefix in (b"", b'{"events":[', b'{"events":'):
        # A few such bodies are requests after all: an empty list, say.
        with contextlib.suppress(RequestError):
            assert isinstance(decode_request(prefix + body).events, list)
        with pytest.raises(EventError):
            decode_event(prefix + body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_arbitrary_json_raises_only_the_codecs_error(value):
    with pytest.raises(EventError):
        read(value)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (r"cut \ud83d", "cut �"),
        (r"\ude00 cut", "� cut"),
        (r"\ud83d\ude00 whole", "😀 whole"),
        (r"\ud83d\ud83d\ude00", "�😀"),
        (r"\\ud83d", r"\ud83d"),
        (r"\\\ud83d", "\\�"),
        (r"\uD83D\n", "�\n"),
    ],
)
def test_half_an_emoji_costs_neither_its_event_nor_the_batch(sent, kept):
    body = f'{{"events":[{{"a":1}},{{"text":"{sent}"}}]}}'.encode()
    raws = decode_request(body).events
    assert json.loads(bytes(raws[0])) == {"a": 1}
    assert msgspec.json.decode(raws[1])["text"] == kept


# Events


def test_bytes_of_an_event_are_kept_as_sent():
    event = json.dumps(heartbeat(extra={"b": 1, "a": 2}), indent=1).encode()
    [raw] = decode_request(b'{"events":[' + event + b"]}").events
    assert bytes(raw) == event
    assert isinstance(decode_event(raw), Heartbeat)


@pytest.mark.parametrize(
    ("changes", "reason", "loc"),
    [
        ({"type": "Cell_exploded"}, "invalid_event", ("type",)),
        ({"type": "cell_exploded@2"}, "invalid_event", ("type",)),
        ({"type": "cell exploded"}, "invalid_event", ("type",)),
        ({"type": "cell_exploded\n"}, "invalid_event", ("type",)),
        ({"type": "7_cells"}, "invalid_event", ("type",)),
        ({"type": ""}, "invalid_event", ("type",)),
        ({"type": "c" * 65}, "invalid_event", ("type",)),
        ({"type": None}, "invalid_event", ("type",)),
        ({"type": "cell_exploded", "event_id": 3}, "invalid_event_id", ("event_id",)),
        ({"type": "cell_exploded", "schema_version": 0}, "invalid_event", ("type",)),
        ({"type": "cell_exploded", "schema_version": 2**31}, "invalid_event", ("schema_version",)),
        ({"type": "cell_exploded", "session_id": "me"}, "invalid_event", ("session_id",)),
        ({"type": "cell_exploded", "occurred_at": "2026-02-29T09:00:00Z"}, "invalid_event", ("occurred_at",)),
        ({"type": "cell_exploded", "seq": 0}, "invalid_event", ("seq",)),
        ({"type": "cell_exploded", "course": "c" * 64}, "invalid_event", ("course",)),
        ({"schema_version": 2, "seq": 0}, "invalid_event", ("seq",)),
        ({"schema_version": 0}, "invalid_event", ("schema_version",)),
        ({"schema_version": "1"}, "invalid_event", ("schema_version",)),
        ({"schema_version": True}, "invalid_event", ("schema_version",)),
        ({"event_id": "0190a0a0-0000-4000-8000-000000000000"}, "invalid_event_id", ("event_id",)),
        ({"event_id": "0190A0A0-0000-7000-8000-000000000000"}, "invalid_event_id", ("event_id",)),
        ({"event_id": "0190a0a0-0000-7000-7000-000000000000"}, "invalid_event_id", ("event_id",)),
        ({"event_id": 12}, "invalid_event_id", ("event_id",)),
        ({"event_id": "x" * 36}, "invalid_event_id", ("event_id",)),
        ({"session_id": "0190a0a0x0000-4000-8000-00000000000"}, "invalid_event", ("session_id",)),
        ({"occurred_at": "2026-04-01T09:00:00.123+09:00"}, "invalid_event", ("occurred_at",)),
        ({"occurred_at": "2026-02-29T09:00:00Z"}, "invalid_event", ("occurred_at",)),
        ({"seq": 0}, "invalid_event", ("seq",)),
        ({"seq": 1.5}, "invalid_event", ("seq",)),
        ({"seq": 10**40}, "invalid_event", ("seq",)),
        ({"data": {"queued": -1, "dropped": 0, "visible": True}}, "invalid_event", ("data", "queued")),
        ({"notebook": {"id": "n", "path": "x" * 1025}}, "invalid_event", ("notebook", "path")),
    ],
)
def test_each_fault_has_its_reason_and_place(changes, reason, loc):
    error = refusal(heartbeat(**changes))
    assert (error.reason, error.loc) == (reason, loc)
    assert error.msg


def test_missing_id_is_an_invalid_event_without_id():
    event = heartbeat()
    del event["event_id"]
    error = refusal(event)
    assert (error.reason, error.event_id) == ("invalid_event", None)
    assert "event_id" in error.msg


def test_refused_events_keep_a_readable_id_and_no_other():
    assert refusal(heartbeat(seq=0)).event_id == id_at(NOW)
    assert refusal(heartbeat(event_id="x" * 65)).event_id is None


def test_error_contains_the_position_in_a_list():
    outputs = [{"type": "stream", "text": "", "size": 0}, {"type": "stream", "text": 3, "size": 0}]
    event = heartbeat(
        type="cell_executed",
        notebook={"id": "n", "path": "p"},
        cell={"id": "c", "source_id": "c", "index": 0, "type": "code"},
        data={"execution_id": "0190a0a0-0000-4000-8000-000000000000", "status": "ok", "code": "", "outputs": outputs},
    )
    error = refusal(event)
    assert error.loc[:2] == ("data", "outputs")
    outputs.pop()
    assert isinstance(read(event), CellExecuted)


def test_oversized_event_is_refused_alone():
    large = heartbeat(padding="x" * 65_536)
    assert refusal(large).reason == "event_too_large"
    assert refusal(large).event_id == id_at(NOW)
    raws = decode_request(json.dumps({"events": [large, heartbeat()]}).encode()).events
    assert isinstance(decode_event(raws[1]), Heartbeat)


def test_nested_bomb_is_an_invalid_event():
    raw = json.dumps(heartbeat()).encode()[:-1] + b',"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    with pytest.raises(EventError, match="nested too deeply"):
        decode_event(raw)


@given(st.integers(0, 2**48 - 1))
def test_no_clock_is_too_wrong_for_an_event_to_be_kept(ms):
    assert read(heartbeat(event_id=id_at(ms))).event_id == id_at(ms)


# Ids


def test_fresh_ids_are_of_now_and_grow():
    before = time.time_ns() // 1_000_000
    ids = [new_event_id() for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
    assert all(before - 1 <= UUID(text).int >> 80 <= after + 1 for text in ids)
