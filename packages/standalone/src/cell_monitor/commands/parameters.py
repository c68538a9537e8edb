"""Types of the commands' parameters: what is typed or pasted is bounded and checked before anything is done with it.

The bounds are the API's. Bytes of the command line that are no UTF-8 arrive as surrogates, which no store takes.
"""

from __future__ import annotations

import re
from typing import Any, Final

import click
from click.types import StringParamType

from cell_monitor_core.channels import COURSE_ID_PATTERN

__all__ = ["COURSE_ID", "KEY_NAME", "NAME", "NEW_USERNAME", "USERNAME"]

_CONTROLS: Final = "\x00-\x1f\x7f\ud800-\udfff"


class _Pattern(StringParamType):
    """A text that matches a pattern as a whole.

    Args:
        name: of the type, for click.
        pattern: regular expression.
        rule: one sentence that says what is right.
    """

    def __init__(self, name: str, pattern: str, rule: str) -> None:
        self.name = name
        self._pattern = re.compile(pattern)
        self._rule = rule

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text.

        Raises:
            click.BadParameter: it does not match; the message does not repeat it.
        """
        if self._pattern.fullmatch(value) is None:
            self.fail(self._rule, param, ctx)
        return str(value)


COURSE_ID: Final = _Pattern(
    "course id",
    COURSE_ID_PATTERN.removeprefix("^").removesuffix("$"),
    "not a course id: small letters, digits, - and _, at most 63 characters.",
)
NEW_USERNAME: Final = _Pattern(
    "user name",
    f"(?=.{{1,150}}$)[^{_CONTROLS} ]([^{_CONTROLS}]*[^{_CONTROLS} ])?",
    "not a user name: 1 to 150 characters, no control characters, no space at either end.",
)
USERNAME: Final = _Pattern("user name", "[^\x00\ud800-\udfff]{1,255}", "not a user name: 1 to 255 characters of UTF-8.")
"""Of somebody who is there: another issuer, such as a Hub, has rules of its own."""
NAME: Final = _Pattern("name", f"[^{_CONTROLS}]{{1,200}}", "1 to 200 characters, no control characters.")
KEY_NAME: Final = _Pattern("name", f"[^{_CONTROLS}]{{1,100}}", "1 to 100 characters, no control characters.")
