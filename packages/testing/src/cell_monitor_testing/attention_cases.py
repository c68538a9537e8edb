"""The cases of ``tests/contract/golden/attention.json``: reasons for attention, and which words hold of a student."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from cell_monitor_core.derivation import Reason, Thresholds
from cell_monitor_core.publications import HelpState, StudentState

__all__ = ["AttentionCase", "WordCase", "attention_cases", "word_cases"]


class AttentionCase(NamedTuple):
    """One case; ``left`` and ``reasons`` are what is expected of the rest."""

    name: str
    state: StudentState
    help_request: HelpState | None
    thresholds: Thresholds
    now: datetime
    left: bool
    reasons: list[Reason]


class WordCase(NamedTuple):
    """One case; ``words`` are all that hold of the student."""

    name: str
    state: StudentState
    help_request: HelpState | None
    thresholds: Thresholds
    now: datetime
    words: frozenset[str]


def attention_cases(golden: Path) -> list[AttentionCase]:
    """Return the cases of reasons of the file in a folder of golden files."""
    content = _content(golden)
    return [
        AttentionCase(*_given(content, case), case["left"], msgspec.convert(case["reasons"], list[Reason]))
        for case in content["cases"]
    ]


def word_cases(golden: Path) -> list[WordCase]:
    """Return the cases of words of the file in a folder of golden files."""
    content = _content(golden)
    return [WordCase(*_given(content, case), frozenset(case["words"])) for case in content["words"]]


def _content(golden: Path) -> Any:
    return json.loads((golden / "attention.json").read_text(encoding="utf-8"))


def _given(content: Any, case: dict[str, Any]) -> tuple[str, StudentState, HelpState | None, Thresholds, datetime]:
    base, request = content["base"], content["request"]
    return (
        case["name"],
        msgspec.convert({**base["state"], **case.get("state", {})}, StudentState),
        None if "help" not in case else msgspec.convert({**request, **case["help"]}, HelpState),
        msgspec.convert({**base["thresholds"], **case.get("thresholds", {})}, Thresholds),
        datetime.fromisoformat(case.get("now", base["now"])),
    )
