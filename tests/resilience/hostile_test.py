"""Hazards: a malicious or malformed request gets an undocumented answer, or makes other senders lose events."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.auth.tokens import TokenIssuer
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_testing.keys import NEWEST_GENERATION
from cell_monitor_testing.traffic import class_traffic

pytestmark = [pytest.mark.resilience, pytest.mark.influxdb, pytest.mark.timeout(280)]

PATH = "/api/v1/events"
JSON = {"Content-Type": "application/json"}
Event = dict[str, Any]


class Attacker:
    """A client that attacks as a student of the course, or without a valid token."""

    def __init__(self, system: Any, classroom: Any, client: httpx.AsyncClient, person_id: str) -> None:
        self.classroom = classroom
        self.client = client
        self.person_id = person_id
        self.good: list[Event] = []
        self.connections: list[asyncio.StreamWriter] = []
        self.keys = SigningKeys.load(system.secrets.signing_keys)
        self.auth = {"Authorization": f"Bearer {self.token()}"}

    def token(self, *, audience: str = "ingest", scopes: tuple[str, ...] = ("events:write",), **issuer: Any) -> str:
        made = TokenIssuer(issuer.pop("keys", self.keys), **issuer)
        return made.issue(
            generation=NEWEST_GENERATION,
            grant=Grant.API_KEY if scopes else Grant.SESSION,
            person_id=self.person_id,
            audience=[audience],
            courses={self.classroom.course_id: "student"},
            scopes=scopes,
        )[0]

    def event(self, *, keep: bool = False, **changes: Any) -> Event:
        """Return a valid event with changes; ``keep`` if it must be stored."""
        made = class_traffic(students=1, events=3, course=self.classroom.course_id, seed=random.getrandbits(60))[
            0
        ].events[2]
        made = {**made, "event_id": new_event_id(), **changes}
        if keep:
            self.good.append(made)
        return made

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection that stays open until the end of the test."""
        address = urlsplit(str(self.client.base_url))
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        self.connections.append(writer)
        return reader, writer

    async def leave(self) -> None:
        """Close the connections."""
        for writer in self.connections:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def send(self, *events: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.client.post(
            PATH, json={"events": list(events)}, headers=self.auth if headers is None else headers
        )

    async def raw(self, body: Any, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(PATH, content=body, headers=self.auth | JSON | named)


def fault(answer: httpx.Response) -> tuple[int, str]:
    [detail] = answer.json()["detail"]
    assert detail["msg"], answer.text
    return answer.status_code, detail["type"]


async def unauthenticated(attacker: Attacker) -> None:
    nobody = (401, "not_authenticated")
    forged = attacker.token(keys=SigningKeys.generate())
    head, claims, signature = attacker.token().split(".")
    for authorization in (
        None,
        "Bearer",
        "Bearer x",
        "Basic YTpi",
        f"Bearer {forged}",
        f"Bearer {head}.{claims}.",
        f"Bearer eyJhbGciOiJub25lIn0.{claims}.",
        f"Bearer {head}.{claims}.{signature[::-1]}",
        f"Bearer {attacker.token(audience='api')}",
        "Bearer " + "x" * 9000,
    ):
        headers = {} if authorization is None else {"Authorization": authorization}
        assert fault(await attacker.send(attacker.event(), headers=headers)) == nobody, authorization
    past = attacker.token(clock=lambda: time.time() - 3600)
    answer = await attacker.send(attacker.event(), headers={"Authorization": f"Bearer {past}"})
    assert fault(answer) == (401, "token_expired")
    other = attacker.token(scopes=("test:write",))
    answer = await attacker.send(attacker.event(), headers={"Authorization": f"Bearer {other}"})
    assert fault(answer) == (403, "insufficient_scope")


async def oversized(attacker: Attacker) -> None:
    assert fault(await attacker.send(*[attacker.event() for _ in range(201)])) == (413, "too_many_events")
    large = json.dumps({"events": [attacker.event(padding="x" * 60_000) for _ in range(20)]}).encode()
    assert fault(await attacker.raw(large)) == (413, "body_too_large")

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 100_000):
            yield large[start : start + 100_000]

    assert fault(await attacker.raw(parts())) == (413, "body_too_large")
    bomb = gzip.compress(b'{"events": [' + b" " * 50_000_000 + b"]}")
    assert fault(await attacker.raw(bomb, Content_Encoding="gzip")) == (413, "body_too_large")
    answer = await attacker.send(attacker.event(padding="x" * 70_000), attacker.event(keep=True))
    assert [result.get("reason") for result in answer.json()["results"]] == ["event_too_large", None]


async def malformed(attacker: Attacker) -> None:
    event = json.dumps(attacker.event()).encode()
    for body in (
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"events": {}}',
        b'{"events": [' + event + b"]",
        b'{"events": [' + event + b"]} x",
        b"[" * 100_000,
        b'{"events": ' + b"[" * 100_000,
        b"\x00" * 1000,
        b'{"events": [1e999, NaN]}',
    ):
        assert fault(await attacker.raw(body)) == (400, "invalid_body"), body[:60]
    # A valid list with an invalid event: only the event is refused.
    answer = await attacker.raw(b'{"events": [' + b"[" * 5000 + b"]" * 5000 + b"]}")
    assert answer.status_code in {200, 400}
    if answer.status_code == 200:
        assert [result["status"] for result in answer.json()["results"]] == ["rejected"]


async def wrongly_typed(attacker: Attacker) -> None:
    cases: list[tuple[Any, str]] = [
        (7, "invalid_event"),
        (None, "invalid_event"),
        ([], "invalid_event"),
        ("event", "invalid_event"),
        ({}, "invalid_event"),
        (attacker.event(seq="first"), "invalid_event"),
        (attacker.event(seq=-1), "invalid_event"),
        (attacker.event(seq=10**40), "invalid_event"),
        (attacker.event(occurred_at=17), "invalid_event"),
        (attacker.event(session_id="me"), "invalid_event"),
        (attacker.event(notebook=["nb"]), "invalid_event"),
        (attacker.event(notebook={"id": "x" * 200, "path": "p"}), "invalid_event"),
        (attacker.event(data=None), "invalid_event"),
        (attacker.event(type="dance; DROP TABLE events"), "invalid_event"),
        (attacker.event(type="d" * 65), "invalid_event"),
        (attacker.event(schema_version=0), "invalid_event"),
        (attacker.event(schema_version=2**31), "invalid_event"),
        (attacker.event(event_id=str(uuid.uuid4())), "invalid_event_id"),
        (attacker.event(event_id="'; DROP TABLE events; --"), "invalid_event_id"),
    ]
    # A wrong clock is no reason to lose an event.
    ahead = uuid.UUID(int=(int((time.time() + 2 * 86_400) * 1000) << 80) | (7 << 76) | (2 << 62) | 1)
    kept = [attacker.event(keep=True), attacker.event(keep=True, event_id=str(ahead))]
    answer = await attacker.send(*[case for case, _ in cases], *kept)
    assert answer.status_code == 200, answer.text
    *bad, good, early = answer.json()["results"]
    assert [(result["status"], result["reason"]) for result in bad] == [("rejected", reason) for _, reason in cases]
    assert (good["status"], early["status"]) == ("accepted", "accepted")


async def wrongly_encoded(attacker: Attacker) -> None:
    text = json.dumps({"events": [attacker.event()]})
    other = (415, "unsupported_media_type")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", ""):
        assert fault(await attacker.raw(text, Content_Type=kind)) == other, kind
    for coding in ("br", "deflate", "gzip, gzip"):
        assert fault(await attacker.raw(text, Content_Encoding=coding)) == other, coding
    for body in (text.encode("utf-16"), text.encode("utf-8-sig")[:40], text.encode().replace(b"nb-1", b"nb-\xff")):
        answer = await attacker.raw(body)
        if answer.status_code == 200:
            [result] = answer.json()["results"]
            assert (result["status"], result["reason"]) == ("rejected", "invalid_event")
        else:
            assert fault(answer) == (400, "invalid_body")
    packed = gzip.compress(text.encode())
    for broken in (packed[:-9], packed + b"x", b"not gzip"):
        assert fault(await attacker.raw(broken, Content_Encoding="gzip")) == (400, "invalid_body")
    # PostgreSQL's text has no NUL and no lone surrogate: such an event is refused or stored, but never blocks the worker.
    for odd in ("a\x00b", "\ud800"):
        event = attacker.event(notebook={"id": "nb-1", "path": "p", "title": odd})
        answer = await attacker.raw(json.dumps({"events": [event]}))
        if answer.status_code == 200 and answer.json()["results"][0]["status"] == "accepted":
            attacker.good.append(event)
        else:
            assert answer.status_code in {200, 400}, answer.text


async def foreign(attacker: Attacker) -> None:
    answer = await attacker.send(attacker.event(course="course-elsewhere"), attacker.event(course="course-elsewhere"))
    assert fault(answer) == (403, "course_forbidden")
    answer = await attacker.send(attacker.event(course="course-elsewhere"), attacker.event(keep=True))
    assert [result.get("reason") for result in answer.json()["results"]] == ["course_forbidden", None]
    reader = {"Authorization": f"Bearer {attacker.token(audience='api', scopes=())}"}
    for course_id in ("course-elsewhere", attacker.classroom.course_id):
        answer = await attacker.client.get(f"/api/v1/courses/{course_id}/state", headers=reader)
        assert answer.status_code in {403, 404}, answer.text


async def replayed(attacker: Attacker) -> None:
    events = [attacker.event(keep=True) for _ in range(50)]
    answers = await asyncio.gather(*(attacker.send(*random.sample(events, len(events))) for _ in range(5)))
    statuses = [result["status"] for answer in answers for result in answer.json()["results"]]
    assert sorted(statuses) == ["accepted"] * 50 + ["duplicate"] * 200


async def nonsense_on_the_wire(attacker: Attacker) -> None:
    start = f"POST {PATH} HTTP/1.1\r\nHost: api\r\n".encode()
    token = attacker.auth["Authorization"]
    for sent, status in (
        (b"\x16\x03\x01\x02\x00\x01\x00" + bytes(200) + b"\r\n\r\n", 400),
        (b"HELLO\r\n\r\n", 400),
        (start + b"Content-Length: many\r\n\r\n", 400),
        (start + f"Authorization: {token}\r\nContent-Type: application/json\r\n\r\n".encode(), 411),
        (
            start
            + f"Authorization: {token}\r\nContent-Type: application/json\r\nContent-Length: 9000000\r\n\r\n".encode(),
            413,
        ),
    ):
        reader, writer = await attacker.connect()
        writer.write(sent)
        async with asyncio.timeout(60):
            line = await reader.readline()
        assert line.split()[1:2] == [str(status).encode()], (sent[:60], line)
    # Requests that are never completed must not delay others.
    for _ in range(50):
        _, writer = await attacker.connect()
        writer.write(start + b"Content-Length: 500\r\nContent-Type: application/json\r\n")


async def flooding(attacker: Attacker) -> None:
    flood = [attacker.event(keep=True) for _ in range(200)]
    body = json.dumps({"events": flood})
    refused: list[httpx.Response] = []
    while len(refused) < 10:
        answers = await asyncio.gather(*(attacker.raw(body) for _ in range(8)))
        refused += [answer for answer in answers if answer.status_code != 200]
    for answer in refused:
        assert fault(answer) == (429, "rate_limited")
        assert 1 <= int(answer.headers["Retry-After"]) <= 60


ATTACKS: list[Callable[[Attacker], Awaitable[None]]] = [
    unauthenticated,
    oversized,
    malformed,
    wrongly_typed,
    wrongly_encoded,
    foreign,
    replayed,
    nonsense_on_the_wire,
    flooding,
]


@asynccontextmanager
async def steady_sender(system: Any, classroom: Any, client: httpx.AsyncClient) -> AsyncIterator[list[Event]]:
    """Send valid events continuously as another student; yield the events sent."""
    sent: list[Event] = []
    events = class_traffic(students=1, events=3000, course=classroom.course_id, seed=99)[0].events
    sender = system.sender(client, classroom.students[-1])
    done = asyncio.Event()

    async def send() -> None:
        for start in range(0, len(events), 5):
            if done.is_set():
                return
            await sender.send(events[start : start + 5])
            sent.extend(events[start : start + 5])
            await asyncio.sleep(0.05)

    sending = asyncio.create_task(send())
    try:
        yield sent
        done.set()
        await sending
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert set(sender.answers) == {200}, "another sender was refused"


async def test_malicious_requests_get_their_documented_answer_and_affect_no_other_sender(system: Any) -> None:
    classroom = await system.classroom(students=len(ATTACKS) + 1, prefix="hostile")
    async with (
        system.client() as client,
        system.client() as other_client,
        system.dashboards(classroom, number=1) as screens,
    ):
        async with steady_sender(system, classroom, other_client) as sent:
            attackers = [
                Attacker(system, classroom, client, await system.person_id(username))
                for username in classroom.students[:-1]
            ]
            outcomes = await asyncio.gather(
                *(attack(attacker) for attack, attacker in zip(ATTACKS, attackers, strict=True)), return_exceptions=True
            )
            for attacker in attackers:
                await attacker.leave()
            for attack, outcome in zip(ATTACKS, outcomes, strict=True):
                if isinstance(outcome, BaseException):
                    outcome.add_note(f"the attack: {attack.__name__}")
                    raise outcome
        good = {event["event_id"] for attacker in attackers for event in attacker.good}
        assert sent
        await system.assert_stored_exactly(classroom.course_id, good | {event["event_id"] for event in sent})
        await system.assert_screens_are_current(screens)
        assert (await client.get("/readyz")).status_code == 200
