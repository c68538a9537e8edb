"""Answers to the front end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from .ingest_body import Batch, event_id_of

__all__ = ["Answer", "encoded", "switched_off"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the front end gets; see docs/dev/contracts.md, "Jupyter Server half"."""

    status: int
    body: dict[str, Any] | bytes
    headers: dict[str, str] = field(default_factory=dict)


def encoded(answer: Answer) -> bytes:
    """The answer's body as it goes out."""
    return answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode("utf-8")


def switched_off(batch: Batch, reason: str | None) -> Answer:
    """Answers that nothing is recorded; the reason is None where that is intended."""
    results = [
        {"event_id": event_id_of(event), "status": "rejected", "reason": "monitor_off"} for event in batch.events
    ]
    notice = {"kind": "off"} if reason is None else {"kind": "off", "reason": reason}
    return Answer(200, {"results": results, "notices": [notice]})
