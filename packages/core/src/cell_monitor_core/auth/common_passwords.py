"""Whether a password is one that many people use, by a list of such passwords. Pure, beside reading the list once.

The list and its licence are in ``common_passwords.txt``. Most entries have fewer than the 12 characters that a password
needs here; people lengthen them by repeating them and by digits, so that is looked for as well.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Final

__all__ = ["is_common"]

_MIN_PART: Final = 4
"""Shorter words, such as a family name of two letters, are parts of many good passwords."""
_MAX_ADDED: Final = 6
"""Digits and signs around a common password that do not make it another one."""
_MAX_PERIOD: Final = 4
"""Characters whose repetition is guessed first, whatever they are."""


def is_common(password: str, names: Iterable[str] = ()) -> bool:
    """Return whether a password is on the list or a name of its person, or one of these repeated or with digits around it.

    Args:
        password: at most a few hundred characters.
        names: of the person, such as their user name.
    """
    text = _folded(password)
    known = _listed().union(name for name in map(_folded, names) if len(name) >= _MIN_PART)
    if _is_known(text, known):
        return True
    core = text.strip("0123456789!?.,;:-_+*#$%&/()=@^~ ")
    if len(core) < _MIN_PART or not _is_known(core, known):
        return False
    before, _, after = text.partition(core)
    return len(before) + len(after) <= _MAX_ADDED or all(not part or part in known for part in (before, after))


def _is_known(text: str, known: frozenset[str]) -> bool:
    if text in known:
        return True
    for period in range(1, len(text)):
        part = text[:period]
        if (part * (len(text) // period + 1)).startswith(text) and (period <= _MAX_PERIOD or part in known):
            return True
    return False


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


@cache
def _listed() -> frozenset[str]:
    text = resources.files(__package__).joinpath("common_passwords.txt").read_text(encoding="utf-8")
    return frozenset(_folded(line) for line in text.partition("\n---\n")[2].splitlines())
