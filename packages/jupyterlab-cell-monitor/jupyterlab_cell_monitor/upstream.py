"""Requests to the monitor's API, and what their answers mean for the events in them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx

from .monitor_answers import KEY_REFUSED, answer_object, answer_text, error_type, problem_of, reason_of
from .refusals import MEMBERSHIP_REASONS
from .tokens import ExchangedTokens, TokenRefused, TokenUnavailable, retry_after_seconds

__all__ = ["Delivered", "Outcome", "Refused", "Unavailable", "Upstream"]

_MAX_ANSWER_BYTES = 2 * 1024 * 1024
_STATUSES = frozenset({"accepted", "duplicate", "rejected", "retry"})
# The body itself is refused, and would be again. No other code may mean that of a whole request (docs/dev/contracts.md).
_REFUSALS = frozenset({(400, "invalid_body"), (413, "body_too_large"), (413, "too_many_events")})


@dataclass(frozen=True, slots=True)
class Delivered:
    """The monitor answered for every event; `notices` is None where it does not know them now."""

    results: list[dict[str, Any]]
    notices: list[dict[str, Any]] | None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The monitor did not accept the events; they can be sent again.

    Attributes:
        reason: the cause, without secrets and payloads.
        retry_after: seconds that the monitor asked to wait; 0 if it did not ask.
        problem: code of what must be changed before a retry can succeed: `api_key_refused`, `api_address_wrong`,
            `request_intercepted` or `join_ended`; None where waiting is enough.
        too_large: whether something between takes no request of this size.
    """

    reason: str
    retry_after: float = 0.0
    problem: str | None = None
    too_large: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The monitor refuses the request as a whole, now and later.

    Attributes:
        all_events: each event for itself would be refused too; otherwise one invalid event causes the refusal of the batch.
    """

    status: int
    error: str
    body: bytes
    all_events: bool = False
    headers: dict[str, str] = field(default_factory=dict)


Outcome = Delivered | Unavailable | Refused


class Upstream:
    """Posts batches to the monitor's API with a token, and never raises.

    Args:
        client: keeps the connections.
        api_url: the API's address without a path.
        tokens: gives the bearer tokens.
        timeout_s: seconds that one request may take in all.
    """

    def __init__(self, client: httpx.AsyncClient, api_url: str, tokens: ExchangedTokens, timeout_s: float) -> None:
        self._client = client
        self._api_url = api_url.rstrip("/")
        self._tokens = tokens
        self._timeout_s = timeout_s

    async def send(self, body: bytes, count: int, *, test_id: str | None, traceparent: str | None) -> Outcome:
        """Sends a batch of `count` events."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._send(body, count, test_id, traceparent)
        except TimeoutError:
            return Unavailable("timeout")
        except TokenUnavailable as error:
            return Unavailable(error.reason, error.retry_after, error.problem)
        except TokenRefused as error:
            return Unavailable(str(error), problem=error.problem or KEY_REFUSED)
        except httpx.HTTPError as error:
            return Unavailable(type(error).__name__)

    async def _send(self, body: bytes, count: int, test_id: str | None, traceparent: str | None) -> Outcome:
        token = await self._tokens.token()
        outcome = await self._post(token, body, count, test_id, traceparent)
        if outcome is None:
            # The token was revoked or its key exchanged: a fresh one settles whose fault it is.
            self._tokens.reject(token)
            token = await self._tokens.token()
            outcome = await self._post(token, body, count, test_id, traceparent)
        if outcome is None:
            self._tokens.reject(token)
            return Unavailable("the monitor refuses the tokens that it issues", problem=KEY_REFUSED)
        if test_id is None and _depends_on_memberships(outcome):
            # The token names the courses that the sender had when it was issued: the roster may have changed since.
            renewed = await self._renewed(token)
            if renewed is not None:
                return await self._post(renewed, body, count, test_id, traceparent) or outcome
        return outcome

    async def _renewed(self, token: str) -> str | None:
        """A newer token, or None where there is none and the refusal is final."""
        try:
            return await self._tokens.renewed(token)
        except (TokenUnavailable, TokenRefused):
            return None

    async def _post(
        self, token: str, body: bytes, count: int, test_id: str | None, traceparent: str | None
    ) -> Outcome | None:
        """One request; None when the token was not taken."""
        path = "/api/v1/events" if test_id is None else f"/api/v1/test/events/{test_id}"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        if traceparent:
            headers["traceparent"] = traceparent
        request = self._client.build_request("POST", self._api_url + path, content=body, headers=headers)
        response = await self._client.send(request, stream=True)
        try:
            answer = await answer_text(response, _MAX_ANSWER_BYTES)
        finally:
            await response.aclose()
        if answer is None:
            return Unavailable("the monitor's answer is too large")
        if response.status_code == 401 and error_type(answer_object(answer)):
            return None
        return _outcome(response, answer, count, in_test_mode=test_id is not None)


def _outcome(response: httpx.Response, answer: bytes, count: int, *, in_test_mode: bool) -> Outcome:
    status = response.status_code
    value = answer_object(answer)
    if status == 200:
        results = value.get("results")
        notices = value.get("notices")
        if not isinstance(results, list):
            return Unavailable(reason_of(status, ""), problem=problem_of(status, ""))
        if len(results) != count or not all(map(_is_result, results)):
            return Unavailable("the monitor gave an unreadable answer")
        known = [notice for notice in notices if isinstance(notice, dict)] if isinstance(notices, list) else None
        return Delivered(results, known)
    error = error_type(value)
    if (status, error) in _REFUSALS:
        return Refused(status, error, answer)
    if status == 403 and error == "course_forbidden":
        return Refused(status, error, answer, all_events=True)
    if in_test_mode and status in {403, 404} and error:
        return Refused(status, error, answer, all_events=True)
    retry_after = retry_after_seconds(response.headers.get("Retry-After"))
    return Unavailable(reason_of(status, error), retry_after, problem_of(status, error), too_large=status == 413)


def _depends_on_memberships(outcome: Outcome) -> bool:
    if isinstance(outcome, Delivered):
        return any(
            result["status"] == "rejected" and result.get("reason") in MEMBERSHIP_REASONS for result in outcome.results
        )
    return isinstance(outcome, Refused) and outcome.error in MEMBERSHIP_REASONS


def _is_result(result: object) -> bool:
    return isinstance(result, dict) and result.get("status") in _STATUSES
