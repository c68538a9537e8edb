"""Hazard: an entry is acknowledged although what it changed was never published, so that dashboards stay behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from cell_monitor_core.publications import StudentState
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import AppliedBatch, StoreUnavailable
from cell_monitor_worker.sinks.facts import FactSink

ANN = UUID(int=1)


class Store:
    """Stores everything; each batch changes the state of one student."""

    async def apply(self, records: Sequence[StreamRecord]) -> AppliedBatch:
        state = StudentState(str(ANN), 2, "ok")
        return AppliedBatch(
            stored=len(records),
            opaque=0,
            duplicates=0,
            discarded=0,
            students={"c1": [state]},
            help={},
            counted=frozenset({"c1"}),
            failed=[],
        )


class UnavailablePublisher:
    """Redis is unavailable, for the states or for the test events."""

    def __init__(self, what: str) -> None:
        self.what = what

    async def publish_states(self, _applied: AppliedBatch, _records: Sequence[StreamRecord]) -> None:
        if self.what == "states":
            raise StoreUnavailable("Redis is unavailable")

    async def publish_tests(self, _records: Sequence[StreamRecord]) -> None:
        if self.what == "tests":
            raise StoreUnavailable("Redis is unavailable")


class Ignored:
    """Counters and the record of test runs, which these tests do not look at."""

    def mark(self, _course_ids: Any) -> None:
        pass

    async def reached(self, _stage: str, _records: Sequence[StreamRecord]) -> None:
        pass

    async def existing(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        return records


@pytest.mark.parametrize("what", ["states", "tests"])
async def test_a_batch_that_could_not_be_published_is_not_finished(what: str) -> None:
    ignored: Any = Ignored()
    store: Any = Store()
    publisher: Any = UnavailablePublisher(what)
    sink = FactSink(store, publisher, ignored, ignored, ignored)
    with pytest.raises(StoreUnavailable):
        await sink.process([StreamRecord(ANN.bytes, "c1", 1, b"{}")])
