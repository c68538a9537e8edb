"""Sends one person's events as the Jupyter Server extension does: it repeats them until each is queued."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import httpx

__all__ = ["EventSender", "UnexpectedAnswer"]

_AGAIN: Final = frozenset({429, 502, 503, 504})
_LONGEST_PAUSE_S: Final = 2.0

Event = dict[str, Any]


class UnexpectedAnswer(AssertionError):  # noqa: N818 - the name describes the failure
    """An answer that a sender of valid events must not get."""


class EventSender:
    """Sends the events of one person.

    Attributes:
        queued: ids that were answered ``accepted`` or ``duplicate``.
        answers: number of answers by HTTP status; ``no_answer`` counts broken connections.
        statuses: number of results by status of the event.
    """

    def __init__(self, client: httpx.AsyncClient, *, username: str, api_key: str) -> None:
        """Configure the sender; nothing is sent.

        Args:
            client: a client with the API's base URL; it may be shared.
            username: the person whose events are sent.
            api_key: a key with the scopes ``events:write`` and ``people:act_as``.
        """
        self._client = client
        self._username = username
        self._api_key = api_key
        self._token = ""
        self.queued: set[str] = set()
        self.answers: Counter[int | str] = Counter()
        self.statuses: Counter[str] = Counter()

    async def send(self, events: Sequence[Event]) -> None:
        """Send until every event is queued.

        Raises:
            UnexpectedAnswer: the answer is neither 200 nor one to retry, or an event was rejected.
        """
        left = list(events)
        failures = 0
        while left:
            answer = await self._post(left)
            if answer is None or answer.status_code in _AGAIN:
                failures += 1
                await self._wait(answer, failures)
            elif answer.status_code == 401:
                self._token = ""
            elif answer.status_code == 200:
                failures = 0
                results = answer.json()["results"]
                left = [
                    event for event, result in zip(left, results, strict=True) if not self._is_queued(event, result)
                ]
                if left:
                    await self._wait(answer, 1)
            else:
                raise UnexpectedAnswer(f"{answer.status_code} {answer.text[:500]}")

    def _is_queued(self, event: Event, result: dict[str, Any]) -> bool:
        self.statuses[result["status"]] += 1
        if result["event_id"] != event["event_id"] or result["status"] == "rejected":
            raise UnexpectedAnswer(f"{result} for {event}")
        if result["status"] == "retry":
            return False
        self.queued.add(event["event_id"])
        return True

    async def _post(self, events: Sequence[Event]) -> httpx.Response | None:
        """Return the answer to a batch or to the request for a token, or None without an answer."""
        try:
            if not self._token:
                answer = await self._client.post(
                    "/api/v1/auth/token",
                    json={"audience": "ingest", "act_as": self._username},
                    headers={"Authorization": f"ApiKey {self._api_key}"},
                )
                if answer.status_code != 200:
                    self.answers[answer.status_code] += 1
                    return answer
                self._token = answer.json()["access_token"]
            answer = await self._client.post(
                "/api/v1/events", json={"events": list(events)}, headers={"Authorization": f"Bearer {self._token}"}
            )
        except httpx.TransportError:
            self.answers["no_answer"] += 1
            return None
        self.answers[answer.status_code] += 1
        return answer

    @staticmethod
    async def _wait(answer: httpx.Response | None, failures: int) -> None:
        asked = 0.0 if answer is None else float(answer.headers.get("Retry-After", 0))
        ceiling = min(_LONGEST_PAUSE_S, 0.1 * 2 ** min(failures, 10))
        await asyncio.sleep(asked + random.uniform(0, ceiling))  # noqa: S311 - jitter, not a secret
