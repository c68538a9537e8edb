"""What failed: kept once, encrypted, whatever is in it, and replayed once."""

from __future__ import annotations

import pytest

from cell_monitor_core.crypto import DecryptionError, KeyRing
from cell_monitor_core.storage.postgres import failed_events
from cell_monitor_core.storage.postgres.failed_events import FailedRecord


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
    while page := await failed_events.records_to_replay(pool, keyring, after=after, limit=3, consumer_group="postgres"):
        replayed += [record for _, record in page]
        after = page[-1][0].failed_id
        assert await failed_events.mark_replayed(pool, [failed.failed_id for failed, _ in page]) == len(page)
    assert replayed == [b"%d" % number for number in range(1, 8)]
    assert await failed_events.mark_replayed(pool, ids) == 1
    assert await failed_events.list_page(pool, waiting_only=True) == []
    assert await failed_events.count_waiting(pool) == 0


async def test_records_cannot_be_read_with_another_ring(pool, keyring):
    await failed_events.insert(pool, keyring, [_record("1-0")])
    with pytest.raises(DecryptionError):
        await failed_events.records_to_replay(pool, KeyRing({"k1": bytes(32)}, "k1"))
