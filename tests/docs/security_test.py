"""Hazard: the page for the security office names a test that is gone, or a threat that nothing answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/security.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`([\w/.-]+(?:_test\.py|\.test\.tsx?))`")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading, without its head."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_test_that_the_page_names_exists() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) > 40
    assert [path for path in named if not (REPOSITORY / path).is_file()] == []


def test_every_letter_of_stride_is_answered_by_a_test_or_said_to_be_open() -> None:
    threats = rows("Threats on the path of an event")
    letters = {letter for _, threat, _, _ in threats for letter in threat.partition(":")[0].split(", ")}
    assert letters == set("STRIDE")
    for _, threat, answer, tests in threats:
        assert NAMED.search(tests) or answer.startswith("open"), threat


@pytest.mark.parametrize("points", ["V2", "V3", "V4", "V5", "V6", "V7", "V8", "V9", "V13", "V14"])
def test_each_chapter_of_asvs_that_applies_has_a_row_with_a_test(points: str) -> None:
    found = [tests for named, _, tests in rows("ASVS 4.0.3, level 2") if re.search(rf"\b{points}\.", named)]
    assert found
    assert all(NAMED.search(tests) for tests in found)
