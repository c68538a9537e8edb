"""Markdown pages with generated sections between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

__all__ = ["replace_sections", "table"]


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """Return a Markdown table; line breaks in cells become spaces."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def replace_sections(page: str, sections: Mapping[str, Callable[[], str]]) -> str:
    """Return the page with every section written again; what is outside of them stays.

    Raises:
        ValueError: a section has no place in the page, or a place has no section.
    """
    places = re.findall(r"<!-- begin (\S+) -->", page)
    if sorted(places) != sorted(sections):
        raise ValueError(f"places without section or sections without place: {sorted(set(places) ^ set(sections))}")

    def replace(match: re.Match[str]) -> str:
        return f"<!-- begin {match[1]} -->\n{sections[match[1]]()}\n<!-- end {match[1]} -->"

    return re.sub(r"<!-- begin (\S+) -->\n.*?<!-- end \1 -->", replace, page, flags=re.DOTALL)
