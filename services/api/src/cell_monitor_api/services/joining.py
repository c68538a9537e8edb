"""Joining a course by its code: students without a Hub and without an account; see docs/adr/0026."""

from __future__ import annotations

from typing import Any, Final

from cell_monitor_api.exceptions import (
    CourseFull,
    InsufficientScope,
    InvalidParameter,
    JoinCodeInvalid,
    JoiningLimited,
    JoinSecretInvalid,
)
from cell_monitor_api.models.auth import JoinedAs
from cell_monitor_api.models.joining import Joined
from cell_monitor_api.services.credentials import Proof, TokenWish, Word
from cell_monitor_api.services.join_limits import JoinLimits
from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.scopes import Audience
from cell_monitor_core.counters import Counters
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.foreign_text import visible
from cell_monitor_core.storage.postgres import courses, join_codes, joined_computers, people
from cell_monitor_core.telemetry.metrics import SIGN_INS

__all__ = ["JoinSecretVerifier", "Joining"]

_HOW: Final = "join_code"


class Joining:
    """Lets those into courses who have the code; ``core.administration.join_codes`` opens and closes them.

    Args:
        pool: PostgreSQL.
        keyring: encrypts names.
        index: makes codes of what is stored.
        counters: reports the new number of students.
        limits: on wrong codes.
        most: how many may join by one code.
    """

    def __init__(
        self, pool: Any, keyring: KeyRing, index: BlindIndex, counters: Counters, limits: JoinLimits, *, most: int
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._index = index
        self._counters = counters
        self._limits = limits
        self._most = most

    async def join(self, code: str, name: str, secret: str, address: str) -> Joined:
        """Let somebody into the course that a code opens, as a new student of this name.

        The same secret once more, as after an answer that was lost, is the same student, who keeps their name.

        Raises:
            JoiningLimited: too many wrong codes.
            JoinCodeInvalid: wrong, too old, or closed.
            InvalidParameter: nothing of the name can be seen.
            CourseFull: as many joined by this code as may.
        """
        shown = visible(name)
        if not shown:
            raise InvalidParameter("nothing of this name can be seen: enter a name", loc=["body", "name"])
        try:
            typed = join_codes.normalized(code)
            meant = None if typed is None else await join_codes.open_locator(self._pool, typed)
            counted = await self._limits.begin(address, meant)
            computer, is_new = await self._admit(typed, shown, secret)
        except JoiningLimited:
            SIGN_INS.labels(_HOW, "rate_limited").inc()
            raise
        except (JoinCodeInvalid, CourseFull):
            SIGN_INS.labels(_HOW, "refused").inc()
            raise
        await self._limits.succeeded(counted)
        course = await courses.get(self._pool, computer.course_id)
        if course is None:
            raise JoinCodeInvalid("the course was deleted meanwhile")
        if is_new:
            await self._counters.roster_changed(computer.course_id, left=False)
        SIGN_INS.labels(_HOW, "ok").inc()
        if not is_new:
            known = await people.get(self._pool, self._keyring, computer.person_id)
            if known is None:
                raise JoinCodeInvalid("the student was deleted meanwhile")
            held = known.display_name or known.username
            return Joined(computer.course_id, course.title, held, name_kept=held != shown)
        return Joined(computer.course_id, course.title, shown, name_kept=False)

    async def _admit(self, typed: str | None, name: str, secret: str) -> tuple[joined_computers.Computer, bool]:
        """Return the computer that holds the secret, and whether it is new; ``typed`` is None for what is no code."""
        async with self._pool.acquire() as connection, connection.transaction():
            opened = None if typed is None else await join_codes.course_of(connection, self._index, typed)
            if opened is None:
                raise JoinCodeInvalid("this is no valid code: ask the instructor for the code of today")
            course_id, joined = opened
            known = await joined_computers.find(connection, secret)
            if known is not None and known.course_id == course_id:
                return known, False
            if joined >= self._most:
                raise CourseFull("as many have joined by this code as may: the instructor can show a new one")
            computer = await joined_computers.add(
                connection, self._keyring, self._index, course_id=course_id, name=name, secret=secret
            )
            if computer is None:
                raise JoinCodeInvalid("this computer's secret was used before: join again")
            await join_codes.count(connection, course_id)
            return computer, True


class JoinSecretVerifier:
    """``Authorization: Join <secret>``: a computer that joined, for the audience ingest and its one course only."""

    scheme = "Join"
    grant = Grant.JOINED

    def __init__(self, pool: Any, keyring: KeyRing) -> None:
        self._pool = pool
        self._keyring = keyring

    async def ask(self, credential: str, wish: TokenWish) -> Word:  # noqa: ARG002
        """Nobody else knows the secret."""
        return Word()

    async def verify(self, credential: str, wish: TokenWish) -> Proof:
        """Return whose events a computer sends.

        Raises:
            InsufficientScope: the token is wished for another audience or person.
            JoinSecretInvalid: the secret is unknown, or its computer may send no more.
        """
        if wish.audience != Audience.INGEST or wish.act_as is not None:
            raise InsufficientScope("a joined computer gets tokens of the audience ingest only, for its own student")
        computer = await joined_computers.find(self._pool, credential)
        if computer is None:
            raise JoinSecretInvalid("this computer is in no course, or no longer: join with the course's code")
        # The staff may have renamed or merged them since they joined.
        person = await people.get(self._pool, self._keyring, computer.person_id)
        course = await courses.get(self._pool, computer.course_id)
        joined = None
        if person is not None and course is not None:
            joined = JoinedAs(person.display_name or person.username, course.title)
        return Proof(
            computer.person_id,
            is_person=True,
            credential=joined_computers.credential_of(computer.computer_id),
            only_course=computer.course_id,
            generation=computer.token_generation,
            joined=joined,
        )
