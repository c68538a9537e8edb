"""Hazard: one part changes a format that is shared with other parts, and these fail in production.

The files in ``golden/`` are examples of the contracts. The code must read them and write exactly the same.
"""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from cell_monitor_api.services.ingest import IngestAnswer
from cell_monitor_core import publications as pubs
from cell_monitor_core.auth import tokens
from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.auth.tokens import TokenIssuer, TokenVerifier
from cell_monitor_core.events.codec import decode_event, decode_request
from cell_monitor_core.events.reasons import Reason
from cell_monitor_core.events.types import EVENT_TYPES
from cell_monitor_core.records import StreamRecord, decode_beat, decode_entry, encode_record, encode_records
from cell_monitor_gateway import protocol

REPOSITORY = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
EXTENSION = REPOSITORY / "packages/jupyterlab-cell-monitor"


def golden(name):
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


EVENTS = golden("events.json")
FRAMES = golden("websocket_frames.json")


def test_there_is_one_event_of_every_type():
    assert EVENTS.keys() == EVENT_TYPES.keys()
    assert all(event["type"] == name for name, event in EVENTS.items())


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_event_is_decoded_and_encoded_unchanged(name):
    body = json.dumps({"events": [EVENTS[name]]}).encode()
    [raw] = decode_request(body).events
    event = decode_event(raw)
    assert event.seq == EVENTS[name]["seq"]
    assert json.loads(msgspec.json.encode(event)) == EVENTS[name]


def test_events_match_the_types_of_the_extension(tmp_path):
    compiler = EXTENSION / "node_modules/typescript/bin/tsc"
    if not compiler.exists() or shutil.which("node") is None:
        pytest.skip("needs the extension's node_modules: run its yarn install")
    types = (EXTENSION / "src/events/types.ts").read_text(encoding="utf-8")
    (tmp_path / "types.ts").write_text(types, encoding="utf-8")
    lines = ["import type { Event } from './types';"]
    lines += [f"export const {name}: Event = {json.dumps(event)};" for name, event in EVENTS.items()]
    # An invalid event must be refused, which proves that the types are checked.
    lines += ["// @ts-expect-error", f"export const wrong: Event = {json.dumps(EVENTS['heartbeat'] | {'seq': '1'})};"]
    (tmp_path / "golden.ts").write_text("\n".join(lines), encoding="utf-8")
    done = subprocess.run(
        ["node", str(compiler), "--noEmit", "--strict", "--target", "es2022", "golden.ts"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout


def test_ingest_answer_is_decoded_and_encoded_unchanged():
    text = golden("ingest_answer.json")
    answer = msgspec.convert(text, IngestAnswer)
    assert json.loads(msgspec.json.encode(answer)) == text
    assert {result.status for result in answer.results} == {"accepted", "duplicate", "rejected", "retry"}
    assert all(Reason(result["reason"]) for result in text["results"] if "reason" in result)


def test_stream_entry_has_exactly_these_bytes():
    entry = golden("stream_entry.json")
    records = [
        StreamRecord(
            person_id=bytes.fromhex(record["person_id"]),
            course_id=record["course_id"],
            received_at=record["received_at"],
            event=record["event"].encode(),
            test_id=record["test_id"],
            traceparent=record["traceparent"],
            waited_ms=record["waited_ms"],
        )
        for record in entry["records"]
    ]
    payload = bytes.fromhex(entry["fields"]["b_hex"])
    assert decode_entry({b"v": entry["fields"]["v"].encode(), b"b": payload}) == records
    assert encode_records([encode_record(record) for record in records]) == payload


def test_an_entry_of_a_release_without_waits_is_read():
    entry = golden("stream_entry_without_waits.json")
    records = decode_entry({b"v": entry["fields"]["v"].encode(), b"b": bytes.fromhex(entry["fields"]["b_hex"])})
    assert [(record.received_at, record.test_id, record.waited_ms) for record in records] == [
        (record["received_at"], record["test_id"], 0) for record in entry["records"]
    ]


def test_an_older_worker_reads_an_entry_with_waits():
    class OlderRecord(msgspec.Struct, array_like=True):
        person_id: bytes
        course_id: str
        received_at: int
        event: bytes
        test_id: str | None = None
        traceparent: str | None = None

    entry = golden("stream_entry.json")
    read = msgspec.msgpack.decode(bytes.fromhex(entry["fields"]["b_hex"]), type=list[OlderRecord])
    assert [record.received_at for record in read] == [record["received_at"] for record in entry["records"]]


def test_beat_is_read_and_an_earlier_release_finds_no_record_in_it():
    beat = golden("beat.json")
    fields = {b"v": beat["fields"]["v"].encode(), b"b": bytes.fromhex(beat["fields"]["b_hex"])}
    # What earlier releases read of an entry is the fields v and b.
    assert decode_entry(fields | {b"w": beat["fields"]["w"].encode()}) == []
    read = decode_beat(fields | {b"w": beat["fields"]["w"].encode()})
    assert read is not None
    assert {"at": read.at, "channels": list(read.channels)} == {"at": beat["at"], "channels": beat["channels"]}
    assert decode_beat(fields) is None


STATES = {"student": pubs.StudentState, "help": pubs.HelpState, "course": pubs.CourseState}


@pytest.mark.parametrize("publication", golden("publications.json"), ids=lambda publication: publication["kind"])
def test_publication_is_decoded_and_encoded_unchanged(publication):
    read = msgspec.json.decode(json.dumps(publication).encode(), type=pubs.Publication)
    assert json.loads(protocol.encode_publication(read)) == publication
    kind = STATES.get(read.kind)
    if kind is not None:
        state = msgspec.json.decode(read.state, type=kind)
        assert json.loads(msgspec.json.encode(state)) == publication["state"]


@pytest.mark.parametrize("frame", FRAMES["client"], ids=lambda frame: frame["type"])
def test_client_frame_is_decoded(frame):
    request = protocol.decode_request(json.dumps(frame))
    written = json.loads(msgspec.json.encode(request))
    assert {name: value for name, value in written.items() if value is not None} == frame


def server_frames():
    [_, _, course, _] = [json.dumps(publication).encode() for publication in golden("publications.json")]
    channel, epoch = "course:python-101", "9f1c2d3e4a5b6c7d"
    [(count, batch)] = protocol.publications(channel, [course])
    assert count == 1
    return [
        protocol.connected(1, ping_interval=25, expires_at=protocol.rfc3339(1_775_034_600)),
        protocol.subscribed(2, channel, epoch=epoch, offset=43, recovered=True, recovery=[course]),
        protocol.subscribed(3, channel, epoch=epoch, offset=43, recovered=False, recovery=[]),
        protocol.presence(4, channel, watching=2),
        protocol.refreshed(5, expires_at=protocol.rfc3339(1_775_035_200)),
        protocol.unsubscribed(6, channel),
        batch,
        protocol.watermark(pubs.Watermark(channel, epoch, 43, 1775034000123, 1775034000168)),
        protocol.error(7, protocol.ErrorType.PERMISSION_DENIED, "this course is not yours"),
        protocol.PING_FRAME,
        protocol.disconnect(protocol.CloseCode.SHUTDOWN, 850),
    ]


def payload(frame):
    """Read the text of an unmasked frame (RFC 6455, section 5.2)."""
    assert frame[0] == 0x81
    length, start = frame[1], 2
    if length == 126:
        length, start = int.from_bytes(frame[2:4], "big"), 4
    assert len(frame) == start + length
    return json.loads(frame[start:])


def test_server_frames_have_exactly_this_text():
    assert [payload(frame) for frame in server_frames()] == FRAMES["server"]


@pytest.mark.parametrize(
    ("name", "audience"), [("jwt_claims.json", "gateway"), ("jwt_claims_of_a_server.json", "ingest")]
)
def test_token_has_exactly_these_claims(monkeypatch, name, audience):
    expected = golden(name)
    claims = expected["claims"]
    keys = SigningKeys({expected["header"]["kid"]: SigningKeys.generate().private_key}, expected["header"]["kid"])
    monkeypatch.setattr(tokens.secrets, "token_urlsafe", lambda _: claims["jti"])
    issuer = TokenIssuer(keys, clock=lambda: claims["iat"] + 0.9)
    token, expires_in = issuer.issue(
        grant=Grant(claims["grant"]),
        person_id=claims["sub"],
        audience=claims["aud"],
        courses=claims["courses"],
        scopes=claims["scopes"],
        admin=claims["admin"],
        lifetime=claims["exp"] - claims["iat"],
        server=claims.get("server"),
    )
    header, body, _ = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split("."))
    assert json.loads(header) == expected["header"]
    assert json.loads(body) == claims
    assert expires_in == claims["exp"] - claims["iat"]
    read = TokenVerifier(keys, audience, clock=lambda: claims["iat"]).verify(token)
    assert json.loads(msgspec.json.encode(read)) == claims
