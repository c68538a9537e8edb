"""What failed: kept once, encrypted, whatever is in it, and replayed once."""

from __future__ import annotations

import pytest

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.postgres import failed_events
from cell_monitor_core.storage.postgres.failed_events import FailedFilter, FailedRecord


def _record(entry: str, position: int = 0, **changes: object) -> FailedRecord:
    values = {"reason": "invalid_event", "detail": "why", "record": b"secret code", **changes}
    return FailedRecord("postgres", 3, entry, position, **values)


async def test_the_same_failure_delivered_again_is_one_row(pool, keyring):
    records = [_record("1-0"), _record("1-0", 1), _record("2-0", -1)]
    assert await failed_events.insert(pool, keyring, records) == 3
    assert await failed_events.insert(pool, keyring, [*records, _record("3-0")]) == 1
    assert await failed_events.insert(pool, keyring, []) == 0
    assert await failed_events.count_waiting(pool) == 4
    assert b"secret code" not in b"".join(await _stored(pool))


async def _stored(pool):
    return [row["record_enc"] for row in await pool.fetch("SELECT record_enc FROM failed_events")]


async def test_the_last_resort_takes_text_that_postgresql_would_refuse(pool, keyring):
    awkward = _record("1-0", detail="a\x00b\ud800" + "x" * 5000, course_id="\x00", record=b"\x00\xff" * 10)
    assert await failed_events.insert(pool, keyring, [awkward]) == 1
    (failed,) = await failed_events.list_page(pool)
    assert failed.detail.startswith("a\\0b\\ud800xxx")
    assert len(failed.detail) < 2100
    ((_, record),) = await failed_events.records_to_replay(pool, keyring)
    assert record == b"\x00\xff" * 10


async def test_pages_and_replays_go_through_all_once_and_in_order(pool, keyring):
    await failed_events.insert(pool, keyring, [_record(f"{number}-0", record=b"%d" % number) for number in range(1, 8)])
    await failed_events.insert(pool, keyring, [FailedRecord("influxdb", 0, "1-0", 0, "r", "d", b"i")])
    first = await failed_events.list_page(pool, limit=5)
    rest = await failed_events.list_page(pool, limit=5, before=first[-1].failed_id)
    ids = [failed.failed_id for failed in (*first, *rest)]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 8

    replayed: list[bytes] = []
    after = 0
    wanted = FailedFilter(consumer_group="postgres")
    while page := await failed_events.records_to_replay(pool, keyring, wanted, after=after, limit=3):
        replayed += [record for _, record in page]
        after = page[-1][0].failed_id
        assert await failed_events.mark_replayed(pool, [failed.failed_id for failed, _ in page]) == len(page)
    assert replayed == [b"%d" % number for number in range(1, 8)]
    assert await failed_events.mark_replayed(pool, ids) == 1
    assert await failed_events.list_page(pool, waiting_only=True) == []
    assert await failed_events.count_waiting(pool) == 0


async def test_records_cannot_be_read_with_another_ring(pool, keyring):
    await failed_events.insert(pool, keyring, [_record("1-0")])
    ((_, record),) = await failed_events.records_to_replay(pool, KeyRing({"k1": bytes(32)}, "k1"))
    assert record is None


async def test_what_failed_in_both_groups_is_counted_and_returned_once(pool, keyring):
    both = [
        FailedRecord(group, 0, "1-0", 0, "data_error", "d", b"x", course_id="c1") for group in ("postgres", "influxdb")
    ]
    await failed_events.insert(pool, keyring, [*both, _record("2-0"), _record("3-0", -1, reason="invalid_entry")])
    assert await failed_events.count_waiting(pool) == 3
    found = await failed_events.records_to_replay(pool, keyring)
    assert [(failed.consumer_group, failed.entry_id) for failed, _ in found] == [
        ("postgres", "1-0"), ("postgres", "2-0"), ("postgres", "3-0"),
    ]  # fmt: skip
    newest = await failed_events.newest_waiting(pool)
    assert await failed_events.count_to_replay(pool, FailedFilter(), after=0, newest=newest) == 3
    # Only in the group that is chosen it is the first.
    ((only, _),) = await failed_events.records_to_replay(pool, keyring, FailedFilter("influxdb"))
    assert (only.consumer_group, only.entry_id) == ("influxdb", "1-0")
    assert await failed_events.mark_replayed(pool, [only.failed_id]) == 2
    groups = await failed_events.waiting_groups(pool)
    assert [(group.reason, group.course_id, group.count) for group in groups] == [
        ("invalid_entry", None, 1), ("invalid_event", None, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "entries"),
    [
        (FailedFilter(), ["5-0", "4-0", "2-0", "1-0"]),
        (FailedFilter(course_id="c1"), ["4-0", "1-0"]),
        (FailedFilter(without_course=True), ["5-0"]),
        (FailedFilter(reason="internal_error"), ["2-0"]),
        (FailedFilter("influxdb"), ["4-0"]),
        (FailedFilter("influxdb", "c1", reason="data_error"), ["4-0"]),
        (FailedFilter("influxdb", "c2"), []),
    ],
)
async def test_filters_choose_the_same_for_the_list_and_for_a_replay(pool, keyring, wanted, entries):
    await failed_events.insert(pool, keyring, [
        _record("1-0", reason="data_error", course_id="c1"),
        _record("2-0", reason="internal_error", course_id="c2"),
        _record("3-0", reason="data_error", course_id="c1"),
        FailedRecord("influxdb", 3, "4-0", 0, "data_error", "d", b"x", course_id="c1"),
        _record("5-0", -1, reason="invalid_entry"),
    ])  # fmt: skip
    gone = next(row.failed_id for row in await failed_events.list_page(pool) if row.entry_id == "3-0")
    await failed_events.mark_replayed(pool, [gone])
    listed = await failed_events.list_page(pool, wanted, waiting_only=True)
    assert [failed.entry_id for failed in listed] == entries
    replayed = await failed_events.records_to_replay(pool, keyring, wanted)
    assert [failed.entry_id for failed, _ in replayed] == entries[::-1]
