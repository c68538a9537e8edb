"""HTTP client of a simulated class: tokens, batches, and retries that respect ``Retry-After``."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import httpx

from cell_monitor_core.timestamps import to_text

__all__ = ["ApiClient", "ApiError", "NoCourseError", "Tally", "retry_after_seconds"]

_RENEW_BEFORE_S: Final = 60.0
_MAX_WAIT_S: Final = 30.0
_MAX_ENROL: Final = 500
_MAX_REQUESTS: Final = 32


class ApiError(RuntimeError):
    """The API refused a request; the message says what and, if known, what to do."""


class NoCourseError(ApiError):
    """The course does not exist, or this API key has no access to it."""


@dataclass(slots=True)
class Tally:
    """Counts of the events that were sent, and of the API's answers.

    Attributes:
        sent: events sent, each counted once.
        statuses: ``accepted``, ``duplicate`` and ``rejected`` by count.
        reasons: of rejected events, by count.
        batches: requests that were answered 200.
        waits: requests that were answered 429 or 503, or not at all, and were sent again.
        seconds: time of the API for each answered request, from its last byte to the answer's first; the newest 10,000.
        queued_seconds: time that each of them waited in this program before it was sent.
    """

    sent: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    batches: int = 0
    waits: int = 0
    seconds: list[float] = field(default_factory=list)
    queued_seconds: list[float] = field(default_factory=list)

    def note_seconds(self, seconds: float, queued: float) -> None:
        """Record the API's time for one request, and how long it waited before in this program."""
        for kept, value in ((self.seconds, seconds), (self.queued_seconds, queued)):
            if len(kept) >= 10_000:
                del kept[:5_000]
            kept.append(value)


class _Stopwatch:
    """Takes the times of one request from httpx's transport, which knows when it is sent and answered."""

    def __init__(self) -> None:
        self._began = self._sent = time.perf_counter()
        self._answered: float | None = None

    def begin_request(self) -> None:
        """Note that the request waits no longer for others of this program."""
        self._sent = time.perf_counter()

    async def trace(self, event: str, _: dict[str, Any]) -> None:
        """Note an event of the transport (https://www.encode.io/httpcore/extensions/#trace)."""
        if event.endswith("send_request_body.complete"):
            self._sent = time.perf_counter()
        elif event.endswith("receive_response_headers.complete"):
            self._answered = time.perf_counter()

    def note(self, tally: Tally) -> None:
        """Count the request, which has its answer."""
        answered = time.perf_counter() if self._answered is None else self._answered
        tally.note_seconds(answered - self._sent, self._sent - self._began)


def retry_after_seconds(value: str | None, *, tries: int, random: Random) -> float:
    """Return the seconds to wait: ``Retry-After`` or exponential backoff, at most 30 s, plus up to 25 % of jitter."""
    try:
        wanted = float(value) if value is not None else 0.0
    except ValueError:  # a date, which our API never sends
        wanted = 0.0
    backoff = min(_MAX_WAIT_S, 0.5 * 2**tries)
    base = wanted if wanted > 0 else backoff
    return min(_MAX_WAIT_S, base) * (1 + 0.25 * random.random())


class ApiClient:
    """A connection pool and an API key for the whole class."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        tally: Tally,
        random: Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Connect to the API at ``url`` with a service's API key."""
        self._http = httpx.AsyncClient(
            base_url=url.rstrip("/") + "/api/v1/",
            timeout=20,
            trust_env=False,
            transport=transport,
            limits=httpx.Limits(max_connections=_MAX_REQUESTS, max_keepalive_connections=_MAX_REQUESTS),
        )
        self._api_key = api_key
        self._tally = tally
        self._random = random
        self._sleep = sleep
        # More at once would only wait for this program: its loop would find their answers late.
        self._slots = asyncio.Semaphore(_MAX_REQUESTS)
        self._sends_time = True
        self._tokens: dict[tuple[str, str | None], tuple[str, float]] = {}

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def enrol(self, course_id: str, members: Sequence[dict[str, Any]]) -> None:
        """Add students to a course's roster; the other members are unchanged.

        Raises:
            ApiError: the key does not allow it, or the course does not exist.
        """
        for first in range(0, len(members), _MAX_ENROL):
            token = await self._token("api", None)
            response = await self._request(
                "PUT",
                f"courses/{course_id}/members",
                headers={"Authorization": f"Bearer {token}"},
                json={"members": list(members[first : first + _MAX_ENROL])},
            )
            if response.status_code == 404:
                raise NoCourseError(f"There is no course {course_id!r}, or the API key may not write its roster.")
            self._expect(response, "enrol the students")

    async def send(self, username: str, events: Sequence[dict[str, Any]]) -> None:
        """Send one student's batch, and repeat it until each event has its final answer; count the answers.

        Raises:
            ApiError: the API refused the whole batch.
        """
        self._tally.sent += len(events)
        waiting = list(events)
        tries = 0
        while waiting:
            token = await self._token("ingest", username)
            response = await self._request(
                "POST", "events", headers={"Authorization": f"Bearer {token}"}, events=waiting
            )
            if response.status_code == 400 and self._sends_time:
                # An API of an earlier release does not know the time of sending.
                self._sends_time = False
                continue
            if response.status_code == 401:
                self._tokens.pop(("ingest", username), None)
                tries += 1
                if tries > 3:
                    self._expect(response, "send events")
                continue
            self._expect(response, "send events")
            self._tally.batches += 1
            again = {result["event_id"] for result in response.json()["results"] if self._count(result)}
            waiting = [event for event in waiting if event["event_id"] in again]
            if waiting:
                tries += 1
                self._tally.waits += 1
                await self._sleep(retry_after_seconds(None, tries=tries, random=self._random))

    def _count(self, result: dict[str, Any]) -> bool:
        """Count one answer; return whether the event must be sent again."""
        if result["status"] == "retry":
            return True
        self._tally.statuses[result["status"]] += 1
        if result["status"] == "rejected":
            self._tally.reasons[result.get("reason", "unknown")] += 1
        return False

    async def _token(self, audience: str, act_as: str | None) -> str:
        token, until = self._tokens.get((audience, act_as), ("", 0.0))
        if until > time.monotonic():
            return token
        body = {"audience": audience} | ({"act_as": act_as} if act_as else {})
        response = await self._request(
            "POST", "auth/token", headers={"Authorization": f"ApiKey {self._api_key}"}, json=body
        )
        if response.status_code == 401:
            raise ApiError("The API does not accept this API key: it is wrong, revoked or expired.")
        if response.status_code == 403:
            raise ApiError(
                f"The API key needs the scopes events:write, people:act_as and roster:write: {_detail(response)}"
            )
        self._expect(response, "get a token")
        answer = response.json()
        token = answer["access_token"]
        lifetime = float(answer["expires_in"])
        self._tokens[audience, act_as] = (token, time.monotonic() + max(lifetime - _RENEW_BEFORE_S, lifetime / 2))
        return str(token)

    def _body(self, events: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the body of an ingest request, with the time of sending, from which the API knows how long events waited."""
        return ({"sent_at": to_text(datetime.now(UTC))} if self._sends_time else {}) | {"events": events}

    async def _request(
        self, method: str, path: str, *, events: Sequence[dict[str, Any]] | None = None, **arguments: Any
    ) -> httpx.Response:
        """Send one request; wait and repeat it while the API is busy or unavailable."""
        tries = 0
        while True:
            stopwatch = _Stopwatch()
            try:
                async with self._slots:
                    stopwatch.begin_request()
                    if events is not None:
                        arguments["json"] = self._body(events)
                    response = await self._http.request(
                        method, path, extensions={"trace": stopwatch.trace}, **arguments
                    )
            except httpx.TransportError as error:
                tries += 1
                if tries > 8:
                    raise ApiError(f"The API at {self._http.base_url} does not answer: {error!r}") from error
                wait = retry_after_seconds(None, tries=tries, random=self._random)
            else:
                if response.status_code not in {429, 503}:
                    stopwatch.note(self._tally)
                    return response
                tries += 1
                if tries > 60:
                    raise ApiError(f"The API is still busy: {_detail(response)}")
                wait = retry_after_seconds(response.headers.get("retry-after"), tries=tries, random=self._random)
            self._tally.waits += 1
            await self._sleep(wait)

    def _expect(self, response: httpx.Response, what: str) -> None:
        if response.status_code >= 300:
            raise ApiError(f"The API refused to {what}: {_detail(response)}")


def _detail(response: httpx.Response) -> str:
    try:
        parts = [f"{item['type']}: {item['msg']}" for item in response.json()["detail"]]
        return f"{response.status_code} {'; '.join(parts)}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.text[:200]}"
