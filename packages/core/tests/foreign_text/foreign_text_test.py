"""Hazard: a name cannot be read, changes the text around it, or gives the terminal of an administrator an order."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cell_monitor_core.foreign_text import escaped, readable, shown_name, visible

GOLDEN: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[4] / "tests/contract/golden/names.json").read_text(encoding="utf-8")
)
ANY_TEXT = st.text(st.characters(codec=None), max_size=40)
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize("case", GOLDEN["texts"], ids=lambda case: case["name"])
def test_what_can_be_seen_is_what_the_contract_says(case: dict[str, str]) -> None:
    assert visible(case["text"]) == case["visible"]


@pytest.mark.parametrize("case", GOLDEN["names"], ids=lambda case: case["name"])
def test_nobody_is_called_by_what_cannot_be_read(case: dict[str, Any]) -> None:
    assert readable(case["text"]) is case["readable"]
    assert shown_name("u1", case["text"]) == (case["text"] if case["readable"] else "u1")


def test_a_person_is_called_by_what_can_be_seen() -> None:
    assert shown_name("ann", "Ann Lee") == "Ann Lee"
    assert shown_name("a-invisible", "\u200b\u200b\u200b") == "a-invisible"
    assert shown_name("u1", None) == "u1"
    assert shown_name("\u200b\u2060", " ") == "U+200B U+2060"
    assert shown_name("...", "\ufffc") == "U+002E U+002E U+002E"


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
    hidden = ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")
    assert not any(unicodedata.category(character) in hidden for character in shown)
    # Nothing combines with what is printed before it, and nothing grows over the lines around it.
    assert unicodedata.category(shown[:1] or "x")[0] != "M"
    assert not re.search("[\\u0300-\\u036f]{5}", shown)
    shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb\u2066c\u061c", "a\\u202eb\\u2066c\\u061c"),
        ("a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg", "a\\u200bb\\u200cc\\u200dd\\u2060e\\ufefff\\xadg"),
        ("a\x00b\x1b[2Jc\x7fd\x85e\x9bf\x9c", "a\\x00b\\x1b[2Jc\\x7fd\\x85e\\x9bf\\x9c"),
        ("a\nb\rc\u2028d\u2029e\tf", "a\\nb\\rc\\u2028d\\u2029e\\tf"),
        ("a\U000e0041b\U000e007fc\ufe0fd\U000e0100e", "a\\U000e0041b\\U000e007fc\\ufe0fd\\U000e0100e"),
        ("a\u0378b\ue000c\U0010ffffd\ud800e", "a\\u0378b\\ue000c\\U0010ffffd\\ud800e"),
        ("a\xa0b\u2003c\u2800d\u3164e", "a\\xa0b\\u2003c\\u2800d\\u3164e"),
        ("e" + 6 * "\u0301", "e" + 4 * "\u0301" + "\\u0301\\u0301"),
        ("\u0301e", "\\u0301e"),
        ("\u200b\u0301", "\\u200b\\u0301"),
        ("か\u3099", "か\u3099"),
    ],
    ids=[
        "bidi",
        "zero width",
        "controls",
        "lines",
        "tags and selectors",
        "unassigned",
        "blanks",
        "marks",
        "first",
        "hidden",
        "kana",
    ],
)
def test_each_kind_of_hidden_character_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_escapes_say_what_was_there() -> None:
    assert escaped("\x1b]0;title\x07 Ann\u202e\u200b\n") == "\\x1b]0;title\\x07 Ann\\u202e\\u200b\\n"
    assert escaped("佐藤　葵, José") == "佐藤　葵, José"
