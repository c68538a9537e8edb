"""Tokens that a JupyterHub gave to students' servers, as credentials: whose they are, and what that says of courses."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from random import uniform
from time import monotonic
from typing import Final

from cell_monitor_api.exceptions import HubTokenInvalid, HubUnavailable, InsufficientScope
from cell_monitor_api.services.credentials import Proof, TokenWish, Word
from cell_monitor_api.services.hub_people import HubPeople
from cell_monitor_api.services.hub_requests import counted_request
from cell_monitor_api.services.hub_rules import HubSender, NotASender, sender_of
from cell_monitor_api.storage.hub_api import HubApi, HubRefusal, HubSilence
from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.scopes import Audience

__all__ = ["HubTokenVerifier"]

_KEPT_S: Final = 10.0
"""So long an answer of the Hub serves further exchanges of the same token."""
_MAX_KEPT: Final = 4096
_MAX_ASKING: Final = 32
"""Requests to the Hub at once, of one process."""
_MAX_WAITING: Final = 500
_RETRY_S: Final = (2, 10)
"""A sender that the Hub cannot be asked about tries again after so many seconds, each after others."""


@dataclass(frozen=True, slots=True)
class _Answer:
    sender: HubSender
    asked_at: float


class HubTokenVerifier:
    """``Authorization: JupyterHub <token>``: the token of a student's server, for the audience ingest only.

    Args:
        hub: the Hub that is asked.
        people: takes over what it says of its users.
        scope: that a token must carry.
        recheck_s: seconds after which the Hub must be asked again; no token lives longer.
        clock: monotonic seconds.
    """

    scheme = "JupyterHub"
    grant = Grant.HUB_SERVER

    def __init__(
        self,
        hub: HubApi,
        people: HubPeople,
        *,
        scope: str,
        recheck_s: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._hub = hub
        self._people = people
        self._scope = scope
        self._recheck_s = recheck_s
        self._clock = clock
        # Such a token may be worth its owner's server: neither it nor a plain hash of it is kept.
        self._key = secrets.token_bytes(32)
        self._kept: OrderedDict[bytes, _Answer] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[_Answer]] = {}
        self._slots = asyncio.Semaphore(_MAX_ASKING)

    async def ask(self, credential: str, wish: TokenWish) -> Word:
        """Return what the Hub says of a token.

        Raises:
            InsufficientScope: the token is wished for another audience or person.
            HubTokenInvalid: the Hub does not know the token, or it is not one of a user's own server.
            HubUnavailable: the Hub cannot be asked now.
        """
        answer = await self._answer(credential, wish)
        return Word(repr(answer.sender), self._good_for_s(answer))

    async def verify(self, credential: str, wish: TokenWish) -> Proof:
        """Return the person whose server holds a token, and bring their courses up to date.

        Raises:
            ClientRequestError: as ``ask``.
        """
        answer = await self._answer(credential, wish)
        sender = answer.sender
        person_id = await self._people.update(sender.name, sender.groups, asked_at=answer.asked_at)
        server = sender.server if sender.server is not None else wish.server
        return Proof(person_id, is_person=True, lifetime_s=self._good_for_s(answer), server=server)

    def _good_for_s(self, answer: _Answer) -> int:
        return max(1, self._recheck_s - int(self._clock() - answer.asked_at))

    async def _answer(self, token: str, wish: TokenWish) -> _Answer:
        if wish.audience != Audience.INGEST or wish.act_as is not None:
            raise InsufficientScope("a token of JupyterHub is exchanged for the audience ingest only, for its own user")
        if not token.isascii() or not token.isprintable():
            raise HubTokenInvalid("send the token that JupyterHub gave to the server")
        digest = hmac.digest(self._key, token.encode(), sha256().name)
        kept = self._kept.get(digest)
        if kept is not None and self._clock() - kept.asked_at < _KEPT_S:
            return kept
        task = self._asking.get(digest)
        if task is None:
            if len(self._asking) >= _MAX_WAITING:
                raise _unavailable("too many servers ask at once")
            task = asyncio.create_task(self._ask(digest, token), name="hub-owner-of")
            self._asking[digest] = task
            task.add_done_callback(lambda _: self._asking.pop(digest, None))
        # A sender that hangs up does not end the question for the others that wait for it.
        return await asyncio.shield(task)

    async def _ask(self, digest: bytes, token: str) -> _Answer:
        async with self._slots:
            asked_at = self._clock()
            try:
                with counted_request():
                    answer = _Answer(sender_of(await self._hub.owner_of(token), self._scope), asked_at)
            except HubRefusal:
                raise HubTokenInvalid("JupyterHub does not know this token, or not yet") from None
            except HubSilence:
                raise _unavailable("JupyterHub does not answer") from None
            except NotASender as error:
                raise HubTokenInvalid(str(error)) from None
        self._kept[digest] = answer
        self._kept.move_to_end(digest)
        if len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return answer


def _unavailable(reason: str) -> HubUnavailable:
    return HubUnavailable(f"{reason}: try again later", retry_after=round(uniform(*_RETRY_S)))  # noqa: S311 - spreads load
