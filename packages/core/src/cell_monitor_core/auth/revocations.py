"""Which access tokens have ended before their time. Pure; ``streams.revocations`` brings the entries.

A token names the *generation* of its person, and the credential that it came of. Each change of a person's rights begins a
new generation: tokens of earlier ones are revoked, and a token made after the change is not, whatever the clocks say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["KEPT_SECONDS", "Revocation", "RevocationList"]

KEPT_SECONDS: Final = 720.0
"""Longer than any token lives: after that none is left that an entry concerns."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """Something that ends tokens.

    Attributes:
        subject: a person's id, or the name of a credential.
        generation: of a person: tokens of earlier generations are revoked; None for a credential.
    """

    subject: str
    generation: int | None = None


class RevocationList:
    """The revocations of the last minutes.

    Attributes:
        version: changes whenever something is added, for those who keep what they verified.
    """

    def __init__(self) -> None:
        self.version = 0
        self._people: dict[str, tuple[int, float]] = {}
        self._credentials: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._people) + len(self._credentials)

    def add(self, revocations: Iterable[Revocation], now: float) -> None:
        """Add revocations, in any order and however often; ``now`` is in seconds of a clock that is never set."""
        changed = False
        for revocation in revocations:
            subject, generation = revocation.subject, revocation.generation
            if generation is None:
                changed |= subject not in self._credentials
                self._credentials.setdefault(subject, now)
            elif generation > self._people.get(subject, (-1, 0.0))[0]:
                changed = True
                self._people[subject] = (generation, now)
        self.version += changed

    def prune(self, now: float) -> None:
        """Remove entries that concern no token any more."""
        before = now - KEPT_SECONDS
        self._people = {subject: kept for subject, kept in self._people.items() if kept[1] > before}
        self._credentials = {subject: at for subject, at in self._credentials.items() if at > before}

    def covers(self, subject: str, generation: int, credential: str) -> bool:
        """Return whether a token with these claims is revoked."""
        least = self._people.get(subject)
        return (least is not None and generation < least[0]) or credential in self._credentials
