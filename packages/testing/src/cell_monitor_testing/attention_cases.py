"""The cases of ``tests/contract/golden/attention.json``: a student's state and the reasons for attention in it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from cell_monitor_core.derivation import Reason, Thresholds
from cell_monitor_core.publications import HelpState, StudentState

__all__ = ["AttentionCase", "attention_cases"]


class AttentionCase(NamedTuple):
    """One case; ``left`` and ``reasons`` are what is expected of the rest."""

    name: str
    state: StudentState
    help_request: HelpState | None
    thresholds: Thresholds
    now: datetime
    left: bool
    reasons: list[Reason]


def attention_cases(golden: Path) -> list[AttentionCase]:
    """Return the cases of the file in a folder of golden files."""
    content = json.loads((golden / "attention.json").read_text(encoding="utf-8"))
    base, request = content["base"], content["request"]
    return [
        AttentionCase(
            name=case["name"],
            state=msgspec.convert({**base["state"], **case.get("state", {})}, StudentState),
            help_request=None if "help" not in case else msgspec.convert({**request, **case["help"]}, HelpState),
            thresholds=msgspec.convert({**base["thresholds"], **case.get("thresholds", {})}, Thresholds),
            now=datetime.fromisoformat(case.get("now", base["now"])),
            left=case["left"],
            reasons=msgspec.convert(case["reasons"], list[Reason]),
        )
        for case in content["cases"]
    ]
