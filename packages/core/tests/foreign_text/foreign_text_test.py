"""Hazard: a name cannot be read, changes the text around it, or gives the terminal of an administrator an order."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cell_monitor_core.foreign_text import escaped, shown_name, visible

GOLDEN: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[4] / "tests/contract/golden/names.json").read_text(encoding="utf-8")
)
ANY_TEXT = st.text(st.characters(codec=None), max_size=40)
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize("case", GOLDEN["texts"], ids=lambda case: case["name"])
def test_what_can_be_seen_is_what_the_contract_says(case: dict[str, str]) -> None:
    assert visible(case["text"]) == case["visible"]


def test_a_person_is_called_by_what_can_be_seen() -> None:
    assert shown_name("ann", "Ann Lee") == "Ann Lee"
    assert shown_name("a-invisible", "\u200b\u200b\u200b") == "a-invisible"
    assert shown_name("u1", None) == "u1"
    assert shown_name("\u200b\u2060", " ") == "U+200B U+2060"


@given(ANY_TEXT)
@example("e\u200b\u0301")
@example(" \u200d ")
def test_no_text_reorders_breaks_the_line_or_is_changed_twice(text: str) -> None:
    shown = visible(text)
    assert not set(shown) & set(BIDI)
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in shown)
    assert visible(shown) == shown


@given(ANY_TEXT)
def test_a_terminal_gets_nothing_that_it_obeys(text: str) -> None:
    shown = escaped(text)
    assert not set(shown) & set(BIDI)
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in shown)
    shown.encode()


def test_escapes_say_what_was_there() -> None:
    assert escaped("\x1b]0;title\x07 Ann\u202e\u200b\n") == "\\x1b]0;title\\x07 Ann\\u202e\\u200b\\n"
    assert escaped("佐藤　葵, José") == "佐藤　葵, José"
