"""Hazard: frames that clients cannot read, or close codes that mean something else than documented."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.streams import StreamReader

from cell_monitor_core.publications import Publication
from cell_monitor_gateway import protocol
from cell_monitor_gateway.protocol import CloseCode, ErrorType, ProtocolError, Subscribe, decode_request

MANY_CLIENTS_LIMIT = 1024 * 1024
"""Bytes of a frame that many WebSocket clients take at most, the ``websockets`` package among them."""
CONTRACTS = Path(__file__).parents[3] / "docs" / "dev" / "contracts.md"


def parse(data: bytes) -> list[Frame]:
    """Read server frames with the parser of the ``websockets`` package."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    frames = []
    while True:
        parser = Frame.parse(reader.read_exact, mask=False, max_size=None)
        try:
            next(parser)
        except StopIteration as done:
            frames.append(done.value)
        except EOFError:
            return frames


@given(st.integers(0, 70_000))
def test_a_frame_of_any_length_is_read_back_whole(length: int) -> None:
    payload = b"x" * length
    (frame,) = parse(protocol.text_frame(payload))
    assert (frame.opcode, frame.data, frame.fin) == (1, payload, True)


CLOSE_CODES = {
    3001: ("shutdown", "reconnect"),
    3005: ("expired", "reconnect"),
    3008: ("slow", "reconnect"),
    3010: ("insufficient_state", "reconnect"),
    3012: ("no_pong", "reconnect"),
    3013: ("too_many_requests", "reconnect"),
    3500: ("invalid_token", "stay closed"),
    3501: ("bad_request", "stay closed"),
    3502: ("stale", "stay closed"),
    3507: ("permission_denied", "stay closed"),
}
"""Typed from docs/dev/contracts.md."""


@pytest.mark.parametrize(("number", "reason", "then"), [(number, *rest) for number, rest in CLOSE_CODES.items()])
def test_a_close_frame_carries_its_code_and_reason(number: int, reason: str, then: str) -> None:
    code = CloseCode(number)
    announced, closed = parse(protocol.disconnect(code, 850) + protocol.close_frame(code))
    assert json.loads(bytes(announced.data)) == {
        "type": "disconnect",
        "code": number,
        "reason": reason,
        "reconnect_after_ms": 850 if then == "reconnect" else None,
    }
    # RFC 6455, section 5.5.1: the code in network byte order, then the reason.
    assert (closed.opcode, closed.data) == (8, number.to_bytes(2, "big") + reason.encode())
    assert code.reconnect == (then == "reconnect")


def test_the_close_codes_are_those_of_the_contract() -> None:
    paragraph = CONTRACTS.read_text().split("\n3001 shutdown")[1].split("##")[0]
    documented = {int(code): name for code, name in re.findall(r"(3\d\d\d) ([a-z_]+)", f"3001 shutdown{paragraph}")}
    assert {code: reason for code, (reason, _) in CLOSE_CODES.items()} == documented
    assert {int(code) for code in CloseCode} == set(CLOSE_CODES)
    assert all(len(code.description) > 20 for code in CloseCode)


@given(st.lists(st.binary(min_size=1, max_size=60_000), max_size=30))
def test_publications_are_split_into_frames_that_clients_take_without_losing_one(parts: list[bytes]) -> None:
    encoded = [msgspec.json.encode({"data": part.hex()}) for part in parts]
    frames = list(protocol.publications("course:c1", encoded))
    rejoined = []
    for count, frame in frames:
        (parsed,) = parse(frame)
        assert len(parsed.data) < MANY_CLIENTS_LIMIT
        decoded = json.loads(bytes(parsed.data))
        assert (decoded["type"], decoded["channel"], len(decoded["publications"])) == (
            "publications",
            "course:c1",
            count,
        )
        rejoined += decoded["publications"]
    assert rejoined == [json.loads(one) for one in encoded]


def test_a_publication_on_the_wire_has_the_contracts_fields() -> None:
    publication = Publication("course:c1", "e", 3, "student", msgspec.Raw(b'{"student_id":"s"}'))
    assert json.loads(protocol.encode_publication(publication)) == {
        "channel": "course:c1",
        "epoch": "e",
        "offset": 3,
        "kind": "student",
        "state": {"student_id": "s"},
    }


def test_replies_repeat_the_requests_id_and_fields() -> None:
    frames = {
        "connected": protocol.connected(1, ping_interval=25, expires_at=protocol.rfc3339(0.5)),
        "subscribed": protocol.subscribed(
            2, "course:c1", epoch="e", offset=4, recovered=True, recovery=[b'{"offset":4}']
        ),
        "unsubscribed": protocol.unsubscribed(3, "course:c1"),
        "refreshed": protocol.refreshed(4, expires_at="x"),
        "presence": protocol.presence(5, "course:c1", watching=2),
        "error": protocol.error(6, ErrorType.PERMISSION_DENIED, "no"),
    }
    decoded = {name: json.loads(bytes(parse(frame)[0].data)) for name, frame in frames.items()}
    assert all(reply["type"] == name for name, reply in decoded.items())
    assert [reply["id"] for reply in decoded.values()] == [1, 2, 3, 4, 5, 6]
    assert decoded["connected"]["expires_at"] == "1970-01-01T00:00:00.500Z"
    assert decoded["subscribed"]["publications"] == [{"offset": 4}]
    assert decoded["error"]["error"] == {"type": "permission_denied", "msg": "no"}


def test_requests_are_read_and_unknown_fields_ignored() -> None:
    text = '{"type":"subscribe","id":2,"channel":"course:c1","epoch":"e","offset":41,"later":true}'
    assert decode_request(text) == Subscribe(2, "course:c1", "e", 41)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        '{"id":1}',
        '{"type":"unknown","id":1}',
        '{"type":"connect","id":1}',
        '{"type":"connect","id":-1,"token":"x"}',
        '{"type":"connect","id":1.5,"token":"x"}',
        '{"type":"connect","id":1,"token":""}',
        '{"type":"subscribe","id":1,"channel":7}',
        '{"type":"subscribe","id":1,"channel":"' + "x" * 81 + '"}',
        '{"type":"subscribe","id":1,"channel":"course:c1","epoch":"e","offset":-1}',
        '{"type":"subscribe","id":1,"channel":"course:c1","epoch":"e","offset":99999999999999999999}',
        '{"type":"pong","pad":"' + "x" * 16_384 + '"}',
        '{"type":"connect","id":1,"token":"\ud800"}',
        "[" * 10_000,
        '{"type":"pong","x":' + "[" * 16_000,
    ],
)
def test_a_malformed_frame_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode_request(text)


@given(st.text(max_size=300))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    try:
        decode_request(text)
    except ProtocolError as error:
        assert str(error)  # noqa: PT017
