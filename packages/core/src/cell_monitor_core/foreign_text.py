"""Text that somebody else wrote, where it is shown among our own: names in answers and messages, anything on a terminal.

Characters that are not seen, that reorder the text around them or that a terminal obeys must not get through. The dashboard
has the same rules in ``dashboard/src/i18n/foreign.ts``; ``tests/contract/golden/names.json`` holds both to the same cases.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["escaped", "readable", "shown_name", "visible"]

# White space but for the ideographic space, which stands in names; U+2800 is a Braille pattern without a dot.
_BLANKS: Final = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u2800\ufeff]+")
_CONTROLS: Final = "\x00-\x1f\x7f-\x9f\ufff9-\ufffb"
_BIDI: Final = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
# Default_Ignorable_Code_Point (Unicode, DerivedCoreProperties.txt) without the joiners and the variation selectors, which
# change the character before them.
_IGNORABLE: Final = (
    "\xad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
_MODIFIERS: Final = "\u180b-\u180d\u180f\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef"
_REMOVED: Final = re.compile(f"[{_CONTROLS}{_BIDI}{_IGNORABLE}]")
_JOINERS: Final = "\u200c\u200d"
_LOOSE: Final = re.compile(f"[{_JOINERS}]+(?=\\s|$)|(?<=[{_JOINERS}])[{_JOINERS}]+")
_SPACES: Final = re.compile(" {2,}")
_MARKS_KEPT: Final = 4
"""No language puts more marks on one letter."""
_UNSEEN: Final = re.compile(f"[{_IGNORABLE}{_MODIFIERS}\u2800]")
_PLAIN_SPACES: Final = " \u3000"
# Box drawings, what stands for a character that is missing, and letters and symbols that are drawn as nothing.
_NOT_READ: Final = re.compile("[\u2500-\u259f\ufffc\ufffd\U00013441\U00013442\U0001d159]")
_READ_CATEGORIES: Final = frozenset(("Lu", "Ll", "Lt", "Lo", "Nd", "Nl", "No", "So"))


def visible(text: str) -> str:
    """Return the part of a text that can be seen, in one line, without what reorders it; empty if there is none."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = _LOOSE.sub("", _without_loose_marks(_REMOVED.sub("", _BLANKS.sub(" ", text))))
    return _SPACES.sub(" ", _without_stacked_marks(unicodedata.normalize("NFC", text))).strip()


def readable(text: str) -> bool:
    """Return whether a text has something to read, a letter, a digit or a picture, so that it can name a person or a thing."""
    return any(unicodedata.category(character) in _READ_CATEGORIES for character in _NOT_READ.sub("", visible(text)))


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


def _without_loose_marks(text: str) -> str:
    """Leave out the marks, joiners and selectors that have no character before them, at the start and after a space."""
    kept: list[str] = []
    for character in text:
        if (not kept or kept[-1] in _PLAIN_SPACES) and (_is_mark(character) or character in _JOINERS):
            continue
        kept.append(character)
    return "".join(kept)


def _without_stacked_marks(text: str) -> str:
    kept: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if _is_mark(character) else 0
        if marks <= _MARKS_KEPT:
            kept.append(character)
    return "".join(kept)


def shown_name(username: str, display_name: str | None) -> str:
    """Return how a person is called: what can be seen of the display name, else of the user name, else its code points.

    A name without anything to read (``readable``) is none.
    """
    for name in (display_name or "", username):
        if readable(name):
            return visible(name)
    return " ".join(f"U+{ord(character):04X}" for character in username[:8])


def escaped(text: str) -> str:
    r"""Return a text for a terminal: what a terminal obeys, nobody sees or no font has as ``\x1b`` or ``\u202e``.

    Line breaks are escaped, too: each value stands in one line. So are marks without a letter of the same text before them,
    more of them than belong on one letter, and spaces other than the plain and the ideographic one.
    """
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    marks = _MARKS_KEPT
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category[0] == "M" else 0
        # Other separators, and what is no character to show: controls, formats, surrogates, private use, not assigned.
        plain = character in _PLAIN_SPACES or (category[0] not in "CZ" and _UNSEEN.match(character) is None)
        if plain and marks <= _MARKS_KEPT:
            shown.append(character)
        else:
            shown.append(character.encode("unicode_escape", "surrogatepass").decode())
            # Nothing may combine with the escape.
            marks = _MARKS_KEPT
    return "".join(shown)
