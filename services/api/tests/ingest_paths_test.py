"""The fast path and the reference path of ingest answer the same requests with the same bytes, and queue the same records."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import LogUnavailable

PATH = "/api/v1/events"
_record = msgspec.msgpack.Decoder(StreamRecord)


class ScriptedLog:
    """Answers by the event's id and the channel alone, so that asking twice changes nothing; keeps what it was given."""

    def __init__(self) -> None:
        self.appended: list[tuple[str, bytes, StreamRecord]] = []

    async def append(self, channel: str, items: Any) -> list[str]:
        await asyncio.sleep(0)
        if channel == "course:broken":
            raise LogUnavailable("scripted", retry_after=7)
        if channel == "course:full":
            raise LogUnavailable("scripted", retry_after=11)
        for event_id, record in items:
            decoded = _record.decode(record)
            self.appended.append((channel, event_id, msgspec.structs.replace(decoded, received_at=0)))
        return ["duplicate" if event_id[-1] % 3 == 0 else "accepted" for event_id, _ in items]


class Paths:
    """Both paths of one API."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.log = ScriptedLog()
        site.process.ingest.producer = self.log

    async def ask(self, app: Any, headers: list[tuple[bytes, bytes]], chunks: list[bytes], method: str = "POST") -> Any:
        """Send one request straight into an application; return what it answered and what it queued."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("192.0.2.7", 4711),
            "server": ("api.test", 80),
        }
        messages = [
            {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
            for index, chunk in enumerate(chunks)
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        self.log.appended.clear()
        await app(scope, receive, send)
        assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
        return sent[0]["status"], sorted(sent[0]["headers"]), sent[1].get("body", b""), list(self.log.appended)

    async def compare(self, headers: list[tuple[bytes, bytes]], chunks: list[bytes], method: str = "POST") -> Any:
        """Send one request to both paths; they must agree."""
        fast = await self.ask(self.site.fast_path, headers, chunks, method)
        reference = await self.ask(self.site.fast_path.app, headers, chunks, method)
        assert fast == reference
        return fast


@pytest.fixture
async def paths(make_site) -> AsyncIterator[Paths]:
    async with make_site(api_bucket_events=1_000_000, api_bucket_refill_per_s=100_000) as site:
        for course_id in ("c1", "c2", "broken", "full"):
            await site.course(course_id)
        await site.course("c1", one="student", many="student")
        for course_id in ("c2", "broken", "full"):
            await site.course(course_id, many="student")
        await site.person("nobody")
        yield Paths(site)


def _headers(token: str, body_length: int, **changes: bytes | None) -> list[tuple[bytes, bytes]]:
    headers: dict[bytes, bytes | None] = {
        b"authorization": b"Bearer " + token.encode(),
        b"content-type": b"application/json",
        b"content-length": str(body_length).encode(),
    }
    headers.update({name.replace("_", "-").encode(): value for name, value in changes.items()})
    return [(name, value) for name, value in headers.items() if value is not None]


_text = st.text(max_size=20)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_FIELDS = (
    "event_id",
    "type",
    "schema_version",
    "occurred_at",
    "session_id",
    "seq",
    "notebook",
    "cell",
    "data",
    "course",
)
_KINDS = ("cell_selected", "heartbeat", "help_requested", "cell_executed", "kernel_died", "no_such_type")


@st.composite
def _events(draw: st.DrawFn, make_event: Any) -> Any:
    event = make_event(draw(st.sampled_from(_KINDS)))
    course = draw(st.sampled_from((None, "c1", "c2", "broken", "full", "foreign", "", "\u216d1")))
    if course is not None:
        event["course"] = course
    event["event_id"] = new_event_id()[:-2] + draw(st.sampled_from(("00", "01", "02", "03")))
    if draw(st.integers(0, 3)) == 0:
        event[draw(st.sampled_from(_FIELDS))] = draw(_json)
    if draw(st.integers(0, 5)) == 0:
        event.pop(draw(st.sampled_from(_FIELDS)), None)
    if draw(st.integers(0, 9)) == 0:
        return draw(_json)
    return event


_sent_at = st.sampled_from(("2026-04-01T09:00:00.123Z", "9999-12-31T23:59:59Z", "", "now", None, 17))
_waited = st.lists(st.integers(-5, 2**70), max_size=6) | st.none() | _text

_COMMON = {
    "deadline": None,
    "max_examples": 150,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@given(data=st.data())
@settings(**_COMMON)
async def test_both_paths_agree_on_any_batch(paths, make_event, data) -> None:
    username = data.draw(st.sampled_from(("one", "many", "nobody")))
    events = data.draw(st.lists(_events(make_event), max_size=6))
    times = data.draw(st.fixed_dictionaries({}, optional={"sent_at": _sent_at, "waited_ms": _waited}))
    body = json.dumps({**times, "events": events}, ensure_ascii=data.draw(st.booleans())).encode()
    changes: dict[str, bytes | None] = {}
    if data.draw(st.booleans()):
        body = gzip.compress(body, 1)
        changes["content_encoding"] = b"gzip"
    # A share, not a place: new ids make a body of another length each time, and Hypothesis wants the same choices.
    cut = int(data.draw(st.floats(0, 1)) * len(body))
    chunks = ([body], [body[:cut], body[cut:]], [b"", body], [body, b""])[data.draw(st.integers(0, 3))]
    token = paths.site.token(username, "ingest", scopes=("events:write",))
    await paths.compare(_headers(token, len(body), **changes), chunks)


@given(data=st.data())
@settings(**_COMMON)
async def test_both_paths_agree_on_any_request(paths, make_event, data) -> None:
    token = paths.site.token("one", "ingest", scopes=("events:write",))
    body = json.dumps({"events": [make_event()]}).encode()
    body = data.draw(
        st.sampled_from((body, gzip.compress(body), b"", b"{}", b"[]", b"null", b'{"events":[]}', b'{"events":1}'))
        | st.binary(max_size=60)
    )
    # A server hands on what is valid in a header's value.
    value = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30).map(
        lambda text: text.strip().encode("latin-1")
    )
    bearer = b"Bearer " + token.encode()
    changes: dict[str, bytes | None] = {
        "authorization": data.draw(
            st.sampled_from((bearer, bearer[:-4], b"bearer  " + token.encode() + b" ", b"Basic YTpi", b"Bearer", None))
            | value
        ),
        "content_type": data.draw(
            st.sampled_from(
                (
                    b"application/json",
                    b"Application/JSON; charset=UTF-8",
                    b'application/json;charset="utf-8"',
                    b"application/json; charset=latin-1",
                    b"text/plain",
                    None,
                )
            )
            | value
        ),
        "content_encoding": data.draw(st.sampled_from((None, b"gzip", b"GZIP", b"identity", b"br", b"")) | value),
        "content_length": data.draw(
            st.sampled_from((str(len(body)).encode(), None, b"0", b"9" * 30, b"1048577", b"99999999", b"-1", b"\xb2"))
        ),
        "transfer_encoding": data.draw(st.sampled_from((None, b"chunked"))),
        "traceparent": data.draw(st.none() | value),
    }
    headers = _headers(token, len(body), **changes)
    if data.draw(st.booleans()):
        headers.append(data.draw(st.sampled_from(headers or [(b"authorization", bearer)])))
        headers.append((b"content-type", data.draw(st.sampled_from((b"application/json", b"text/html")))))
    await paths.compare(headers, [body])


async def test_both_paths_agree_on_nasty_requests(paths, make_event) -> None:
    token = paths.site.token("many", "ingest", scopes=("events:write",))
    event = make_event(course="c1")
    text = json.dumps(event)
    huge = make_event("cell_executed", course="c1", padding="x" * 70_000)
    bodies = [
        b'{"events":[' + b",".join([text.encode()] * 200) + b"]}",
        b'{"events":[' + b",".join([text.encode()] * 201) + b"]}",
        json.dumps({"events": [huge, event]}).encode(),
        b'{"events":[' + text.encode() + b"],}",
        b'{"events":[' + text.encode() + b"]} trailing",
        b'{"events":[' + text.encode() + b'],"events":[]}',
        b'\xef\xbb\xbf{"events":[]}',
        b'{"events":["\xff"]}',
        b'{"events":[' + b"[" * 5000 + b"]" * 5000 + b"]}",
        b"[" * 100_000,
        text.replace("Exercises", "\\ud83d").encode(),
        b'{"events":[' + text.replace("Exercises", "\\ud83d").encode() + b"]}",
        b'{"events":[' + text.replace('"seq": 1', '"seq": 1e400').encode() + b"]}",
        b'{"events":[' + text.replace('"seq": 1', '"seq": NaN').encode() + b"]}",
        b'{"events":[{"event_id":"\\u0000\\"<script>"}]}',
        b'{"events":[{"event_id":"' + b"a" * 65 + b'"}]}',
        b'{"events":[null,1,"a",[],{}]}',
        json.dumps({"events": [make_event(course="foreign"), make_event(course="foreign")]}).encode(),
        json.dumps({"events": [make_event(course="foreign"), make_event(course="c1")]}).encode(),
        json.dumps({"events": [make_event(course="broken"), make_event(course="c1")]}).encode(),
        json.dumps({"events": [make_event(course="broken"), make_event(course="full"), {}]}).encode(),
        json.dumps(
            {"events": [make_event(course="broken"), make_event(course="full"), make_event(course="c2")]}
        ).encode(),
        json.dumps({"events": [make_event("heartbeat", course="c1")]}).encode(),
        b"x" * 1_048_576,
        b"x" * 1_048_577,
    ]
    for body in bodies:
        for chunks in ([body], [body[:7], body[7:]]):
            await paths.compare(_headers(token, len(body)), chunks)
            await paths.compare(_headers(token, 0, content_length=None, transfer_encoding=b"chunked"), chunks)
        packed = gzip.compress(body, 1)
        for data in (packed, packed[:-5], packed + b"x", packed + packed):
            await paths.compare(_headers(token, len(data), content_encoding=b"gzip"), [data])


async def test_both_paths_agree_on_who_may_send(paths, make_event) -> None:
    site = paths.site
    body = json.dumps({"events": [make_event(course="c1")]}).encode()
    expired = site.process.signing.issuer
    tokens = [
        site.token("many", "ingest"),
        site.token("many", "api", scopes=("events:write",)),
        site.token("many", "ingest", scopes=("test:write",)),
        site.token("nobody", "ingest", scopes=("events:write",)),
        "a.b.c",
        "é",
        "x" * 20_000,
    ]
    expired._clock = lambda: time.time() - 3600
    tokens.append(site.token("many", "ingest", scopes=("events:write",)))
    expired._clock = time.time
    statuses = [(await paths.compare(_headers(token, len(body)), [body]))[0] for token in tokens if token != "é"]
    assert statuses == [403, 401, 403, 403, 401, 401, 401]
    await paths.compare([(b"authorization", "Bearer é".encode("latin-1"))], [body])
    await paths.compare([], [body])


async def test_both_paths_agree_when_a_sender_floods(make_site, make_event) -> None:
    async with make_site(api_bucket_events=200, api_bucket_refill_per_s=0.001) as site:
        await site.course("c1", one="student")
        paths = Paths(site)
        token = site.token("one", "ingest", scopes=("events:write",))
        body = json.dumps({"events": [make_event() for _ in range(150)]}).encode()
        assert (await paths.ask(site.fast_path, _headers(token, len(body)), [body]))[0] == 200
        # Nothing is taken from the bucket by a refusal, so both find it as it was.
        status, headers, answer, _ = await paths.compare(_headers(token, len(body)), [body])
        assert status == 429
        assert int(dict(headers)[b"retry-after"]) > 0
        assert json.loads(answer)["detail"][0]["type"] == "rate_limited"


async def test_both_paths_agree_that_notices_which_cannot_be_read_are_unknown(paths, make_event) -> None:
    token = paths.site.token("one", "ingest", scopes=("events:write",))
    paths.site.process.ingest.notices._paused_until = float("inf")
    for events, notices in (([], None), ([make_event("heartbeat")], None), ([make_event()], [])):
        body = json.dumps({"events": events}).encode()
        status, _, answer, _ = await paths.compare(_headers(token, len(body)), [body])
        assert (status, json.loads(answer)["notices"]) == (200, notices)


async def test_both_paths_agree_when_something_breaks(paths, make_event) -> None:
    async def broken(_channel: str, _items: Any) -> list[str]:
        raise ZeroDivisionError("secret")

    paths.log.append = broken  # type: ignore[method-assign]
    token = paths.site.token("one", "ingest", scopes=("events:write",))
    body = json.dumps({"events": [make_event()]}).encode()
    status, _, answer, _ = await paths.ask(paths.site.fast_path, _headers(token, len(body)), [body])
    assert status == 500
    assert b"secret" not in answer
    with pytest.raises(ZeroDivisionError):
        # Starlette answers and then lets the server log what happened.
        await paths.ask(paths.site.fast_path.app, _headers(token, len(body)), [body])
