"""Which access tokens have ended before their time. Pure; ``streams.revocations`` brings the entries.

A token names the *generation* of its person, and the credential that it came of. Each change of a person's rights begins a
new generation: tokens of earlier ones are revoked, and a token made after the change is not, whatever the clocks say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["KEPT_SECONDS", "Revocation", "RevocationList", "of_erased_person"]

KEPT_SECONDS: Final = 720.0
"""Longer than any token lives: after that none is left that an entry concerns."""

_ERASED: Final = "erased:"


@dataclass(frozen=True, slots=True)
class Revocation:
    """Something that ends tokens.

    Attributes:
        subject: a person's id, or the name of a credential or of an erased person.
        generation: of a person: tokens of earlier generations are revoked; None where all are.
    """

    subject: str
    generation: int | None = None


def of_erased_person(person_id: str) -> Revocation:
    """Return what ends all tokens of a person who is erased, without their id.

    Args:
        person_id: as tokens state it. It is random, so that nobody finds it by the hash, which is BLAKE2b of 16 bytes.
    """
    return Revocation(_ERASED + hashlib.blake2b(person_id.encode(), digest_size=16).hexdigest())


class RevocationList:
    """The revocations of the last minutes.

    Attributes:
        version: changes whenever something is added, for those who keep what they verified.
    """

    def __init__(self) -> None:
        self.version = 0
        self._people: dict[str, tuple[int, float]] = {}
        self._credentials: dict[str, float] = {}
        self._erased: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._people) + len(self._credentials) + len(self._erased)

    def add(self, revocations: Iterable[Revocation], now: float) -> None:
        """Add revocations, in any order and however often; ``now`` is in seconds of a clock that is never set."""
        changed = False
        for revocation in revocations:
            subject, generation = revocation.subject, revocation.generation
            if generation is None:
                ended = self._erased if subject.startswith(_ERASED) else self._credentials
                changed |= subject not in ended
                ended.setdefault(subject, now)
            elif generation > self._people.get(subject, (-1, 0.0))[0]:
                changed = True
                self._people[subject] = (generation, now)
        self.version += changed

    def prune(self, now: float) -> None:
        """Remove entries that concern no token any more."""
        before = now - KEPT_SECONDS
        self._people = {subject: kept for subject, kept in self._people.items() if kept[1] > before}
        self._credentials = {subject: at for subject, at in self._credentials.items() if at > before}
        self._erased = {subject: at for subject, at in self._erased.items() if at > before}

    def covers(self, subject: str, generation: int, credential: str) -> bool:
        """Return whether a token with these claims is revoked."""
        least = self._people.get(subject)
        if (least is not None and generation < least[0]) or credential in self._credentials:
            return True
        # Nearly always nobody was erased lately, and nothing is hashed.
        return bool(self._erased) and of_erased_person(subject).subject in self._erased
