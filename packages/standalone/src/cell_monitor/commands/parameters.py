"""Types of the commands' parameters: what is typed or pasted is bounded and checked before anything is done with it."""

from __future__ import annotations

import re
from typing import Any, Final

import click
from click.types import StringParamType

from cell_monitor_core.channels import COURSE_ID_PATTERN
from cell_monitor_core.names import (
    ISSUER_PATTERN,
    MAX_GROUP_CHARS,
    MAX_ISSUER_CHARS,
    MAX_KEY_NAME_CHARS,
    MAX_NAME_CHARS,
    MAX_USERNAME_CHARS,
    NAME_PATTERN,
    USERNAME_PATTERN,
)

__all__ = ["COURSE_ID", "GROUP", "ISSUER", "ISSUER_OPTION", "KEY_NAME", "NAME", "NEW_USERNAME", "USERNAME"]

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""Bytes of the command line that are no UTF-8 arrive as these, which no store takes."""


class _Text(StringParamType):
    """A text of 1 to some characters that matches a pattern as a whole.

    Args:
        name: of the type, for click.
        pattern: regular expression.
        max_chars: the most that it may have.
        rule: one sentence that says what is right.
    """

    def __init__(self, name: str, pattern: str, max_chars: int, rule: str) -> None:
        self.name = name
        self._pattern = re.compile(pattern)
        self._max_chars = max_chars
        self._rule = rule

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text.

        Raises:
            click.BadParameter: it does not match; the message does not repeat it.
        """
        text = str(value)
        if (
            not 1 <= len(text) <= self._max_chars
            or self._pattern.fullmatch(text) is None
            or _SURROGATE.search(text) is not None
        ):
            self.fail(self._rule, param, ctx)
        return text


def _named(max_chars: int) -> _Text:
    return _Text("name", NAME_PATTERN, max_chars, f"1 to {max_chars} characters, no control characters.")


COURSE_ID: Final = _Text(
    "course id",
    COURSE_ID_PATTERN,
    63,
    "not a course id: small letters, digits, - and _, at most 63 characters.",
)
NEW_USERNAME: Final = _Text(
    "user name",
    USERNAME_PATTERN,
    MAX_USERNAME_CHARS,
    f"not a user name: 1 to {MAX_USERNAME_CHARS} characters, no control characters, no space at either end.",
)
USERNAME: Final = _Text("user name", "[^\x00]*", 255, "not a user name: 1 to 255 characters of UTF-8.")
"""Of somebody who is there: another issuer, such as a Hub, has rules of its own."""
ISSUER: Final = _Text(
    "issuer",
    ISSUER_PATTERN,
    MAX_ISSUER_CHARS,
    f"not an issuer: 1 to {MAX_ISSUER_CHARS} characters of ASCII, no spaces.",
)
"""Of identities, as it is configured; see docs/adr/0015."""
ISSUER_OPTION: Final = click.option(
    "--issuer",
    type=ISSUER,
    help="Where the person signs in, if several are called the same: as it is configured, or `local` for an account of "
    "this installation.",
)
GROUP: Final = _named(MAX_GROUP_CHARS)
"""Of an issuer; compared byte for byte."""
NAME: Final = _named(MAX_NAME_CHARS)
KEY_NAME: Final = _named(MAX_KEY_NAME_CHARS)
