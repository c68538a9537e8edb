"""What every event log must do, whatever it stands on."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell_monitor_core.channels import partition_of
from cell_monitor_core.keys import GROUP_POSTGRES, GROUP_TIMESERIES
from cell_monitor_core.records import StreamRecord, decode_entry, encode_record
from cell_monitor_core.storage.ports import LogUnavailable
from cell_monitor_testing.memory_log import MemoryEventLog

CHANNEL = "course:c1"
PARTITION = partition_of(CHANNEL, 8)
NOW = timedelta(0)
SOON = timedelta(seconds=10)


def item(text: str = "{}", event_id: bytes | None = None) -> tuple[bytes, bytes]:
    return event_id or os.urandom(16), encode_record(StreamRecord(b"p" * 16, "c1", 1, text.encode()))


async def texts(log: Any, group: str = GROUP_POSTGRES, consumer: str = "a") -> list[str]:
    entries = await log.read(PARTITION, group, consumer, count=1000, block=NOW)
    return [record.event.decode() for entry in entries for record in decode_entry(entry.fields)]


async def test_what_was_accepted_is_read_in_order_by_every_group(log: Any) -> None:
    await log.ensure_groups()
    sent = [f"{number}" for number in range(150)]
    assert await log.append(CHANNEL, [item(text) for text in sent]) == ["accepted"] * 150
    assert await texts(log, GROUP_POSTGRES) == sent
    assert await texts(log, GROUP_TIMESERIES) == sent
    assert await texts(log, GROUP_POSTGRES) == []


async def test_entries_queued_before_the_groups_existed_are_read(log: Any) -> None:
    await log.append(CHANNEL, [item("early")])
    await log.ensure_groups()
    assert await texts(log) == ["early"]


async def test_ensure_groups_twice_forgets_no_position(log: Any) -> None:
    await log.ensure_groups()
    await log.append(CHANNEL, [item("1")])
    assert await texts(log) == ["1"]
    await log.ensure_groups()
    assert await texts(log) == []


async def test_the_same_id_again_is_told_to_be_a_duplicate_and_not_queued_again(log: Any) -> None:
    await log.ensure_groups()
    once = item("once")
    assert await log.append(CHANNEL, [once]) == ["accepted"]
    assert await log.append(CHANNEL, [once]) == ["duplicate"]
    assert await texts(log) == ["once"]


async def test_two_copies_in_one_call_are_one_accepted_and_one_duplicate(log: Any) -> None:
    twin = item("twin")
    other = item("other")
    assert await log.append(CHANNEL, [twin, other, twin]) == ["accepted", "accepted", "duplicate"]


async def test_concurrent_callers_with_one_id_get_one_acceptance(log: Any) -> None:
    same = item("same")
    outcomes = await asyncio.gather(*(log.append(CHANNEL, [same, item()]) for _ in range(40)))
    assert sorted(outcome[0] for outcome in outcomes) == ["accepted"] + ["duplicate"] * 39
    assert all(outcome[1] == "accepted" for outcome in outcomes)


async def test_many_callers_on_many_partitions_each_get_their_own_answer(log: Any) -> None:
    known = {f"course:c{number}": item(f"{number}") for number in range(50)}
    for channel, one in known.items():
        await log.append(channel, [one])
    outcomes = await asyncio.gather(*(log.append(channel, [item(), one, item()]) for channel, one in known.items()))
    assert outcomes == [["accepted", "duplicate", "accepted"]] * 50


async def test_an_empty_call_is_answered_with_nothing(log: Any) -> None:
    assert await log.append(CHANNEL, []) == []


async def test_an_id_of_another_length_is_refused_before_it_can_shift_others(log: Any) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        await log.append(CHANNEL, [(b"short", b"x")])


async def test_a_blocked_reader_gets_what_arrives_meanwhile(log: Any) -> None:
    await log.ensure_groups()
    reader = asyncio.create_task(log.read(PARTITION, GROUP_POSTGRES, "a", count=10, block=SOON))
    await asyncio.sleep(0)
    await log.append(CHANNEL, [item("late")])
    assert len(await asyncio.wait_for(reader, 5)) == 1


async def test_a_dead_consumers_entries_are_taken_over_with_their_count(log: Any) -> None:
    await log.ensure_groups()
    await log.append(CHANNEL, [item("a")])
    await log.append(CHANNEL, [item("b")])
    first = await log.read(PARTITION, GROUP_POSTGRES, "dead", count=10, block=NOW)
    assert [entry.deliveries for entry in first] == [1, 1]
    await log.acknowledge(PARTITION, GROUP_POSTGRES, [first[0].entry_id])
    again = await log.reclaim(PARTITION, GROUP_POSTGRES, "alive", min_idle=NOW, count=10)
    assert [(entry.entry_id, entry.fields, entry.deliveries) for entry in again] == [
        (first[1].entry_id, first[1].fields, 2)
    ]
    thrice = await log.reclaim(PARTITION, GROUP_POSTGRES, "alive", min_idle=NOW, count=10)
    assert [entry.deliveries for entry in thrice] == [3]


async def test_a_living_consumers_entries_are_left_alone(log: Any) -> None:
    await log.ensure_groups()
    await log.append(CHANNEL, [item()])
    await log.read(PARTITION, GROUP_POSTGRES, "alive", count=10, block=NOW)
    assert await log.reclaim(PARTITION, GROUP_POSTGRES, "other", min_idle=timedelta(minutes=1), count=10) == []


async def test_reclaim_reaches_entries_beyond_its_count(log: Any) -> None:
    await log.ensure_groups()
    for number in range(7):
        await log.append(CHANNEL, [item(f"{number}")])
    given_out = await log.read(PARTITION, GROUP_POSTGRES, "dead", count=10, block=NOW)
    taken: set[str] = set()
    for _ in range(4):
        entries = await log.reclaim(PARTITION, GROUP_POSTGRES, "alive", min_idle=NOW, count=3)
        await log.acknowledge(PARTITION, GROUP_POSTGRES, [entry.entry_id for entry in entries])
        taken |= {entry.entry_id for entry in entries}
    assert taken == {entry.entry_id for entry in given_out}


async def test_lag_counts_what_is_unread_and_what_is_unfinished(log: Any) -> None:
    await log.ensure_groups()
    assert await log.lag(PARTITION, GROUP_POSTGRES) == (0, 0.0)
    for _ in range(3):
        await log.append(CHANNEL, [item()])
    count, age = await log.lag(PARTITION, GROUP_POSTGRES)
    assert count == 3
    assert age >= 0
    entries = await log.read(PARTITION, GROUP_POSTGRES, "a", count=2, block=NOW)
    assert (await log.lag(PARTITION, GROUP_POSTGRES))[0] == 3
    await log.acknowledge(PARTITION, GROUP_POSTGRES, [entry.entry_id for entry in entries])
    assert (await log.lag(PARTITION, GROUP_POSTGRES))[0] == 1
    assert (await log.lag(PARTITION, GROUP_TIMESERIES))[0] == 3


async def test_lag_without_the_group_is_the_whole_stream(log: Any) -> None:
    await log.append(CHANNEL, [item()])
    assert (await log.lag(PARTITION, GROUP_POSTGRES))[0] == 1


async def test_nothing_is_trimmed_while_a_required_group_is_missing(log: Any) -> None:
    await log.append(CHANNEL, [item("kept")])
    entries = await log.read(PARTITION, GROUP_POSTGRES, "a", count=10, block=NOW)
    await log.acknowledge(PARTITION, GROUP_POSTGRES, [entry.entry_id for entry in entries])
    assert await log.trim(PARTITION) == 0
    await log.ensure_groups()
    assert await texts(log, GROUP_TIMESERIES) == ["kept"]


async def test_trimming_an_absent_stream_is_no_error(log: Any) -> None:
    assert await log.trim(PARTITION) == 0


async def test_a_full_stream_takes_no_more_but_still_knows_duplicates(log: Any) -> None:
    if isinstance(log, MemoryEventLog):
        log._max_backlog_entries = 2
    else:
        appender = log._appender
        appender._bounds = (b"2", *appender._bounds[1:])
    await log.ensure_groups()
    first = item("1")
    await log.append(CHANNEL, [first])
    await log.append(CHANNEL, [item("2")])
    with pytest.raises(LogUnavailable, match="backlog full"):
        await log.append(CHANNEL, [item("3")])
    assert await log.append(CHANNEL, [first]) == ["duplicate"]
    for group in (GROUP_POSTGRES, GROUP_TIMESERIES):
        entries = await log.read(PARTITION, group, "a", count=10, block=NOW)
        await log.acknowledge(PARTITION, group, [entry.entry_id for entry in entries])
    assert await log.trim(PARTITION) == 2
    assert await log.append(CHANNEL, [item("3")]) == ["accepted"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3)),
        st.tuples(st.just("read"), st.sampled_from([GROUP_POSTGRES, GROUP_TIMESERIES]), st.integers(1, 3)),
        st.tuples(st.just("acknowledge"), st.sampled_from([GROUP_POSTGRES, GROUP_TIMESERIES]), st.integers(0, 5)),
        st.tuples(st.just("trim")),
    ),
    max_size=25,
)


async def run_steps(log: Any, channel: str, steps: list[tuple[Any, ...]]) -> None:
    """Whatever the order of reads, acknowledgements and trims, each group ends with having been given everything."""
    partition = partition_of(channel, 8)
    await log.ensure_groups()
    sent: list[str] = []
    received: dict[str, list[str]] = {GROUP_POSTGRES: [], GROUP_TIMESERIES: []}
    pending: dict[str, dict[str, list[str]]] = {GROUP_POSTGRES: {}, GROUP_TIMESERIES: {}}

    async def read(group: str, count: int) -> int:
        entries = await log.read(partition, group, "a", count=count, block=NOW)
        for entry in entries:
            pending[group][entry.entry_id] = [record.event.decode() for record in decode_entry(entry.fields)]
        return len(entries)

    async def acknowledge(group: str, entry_ids: list[str]) -> None:
        await log.acknowledge(partition, group, entry_ids)
        for entry_id in entry_ids:
            received[group] += pending[group].pop(entry_id)

    for step in steps:
        if step[0] == "append":
            for _ in range(step[1]):
                sent.append(f"{len(sent)}")
                await log.append(channel, [item(sent[-1])])
        elif step[0] == "read":
            await read(step[1], step[2])
        elif step[0] == "acknowledge":
            waiting = sorted(pending[step[1]])
            if waiting:
                await acknowledge(step[1], [waiting[step[2] % len(waiting)]])
        else:
            await log.trim(partition)
    for group, texts_of_group in received.items():
        while await read(group, 10):
            pass
        # What a dead consumer left must still be there with its content.
        again = await log.reclaim(partition, group, "b", min_idle=NOW, count=100)
        assert {entry.entry_id for entry in again} == set(pending[group])
        for entry in again:
            assert [record.event.decode() for record in decode_entry(entry.fields)] == pending[group][entry.entry_id]
        await acknowledge(group, list(pending[group]))
        assert sorted(texts_of_group, key=int) == sent
    await log.trim(partition)
    assert await log.lag(partition, GROUP_POSTGRES) == (0, 0.0)


def test_trim_never_removes_what_a_group_needs(store_url: str | None) -> None:
    from cell_monitor_core.redis_client import connect
    from cell_monitor_core.streams.redis_log import RedisEventLog

    counter = iter(range(1_000_000))

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(steps=STEPS)
    def check(steps: list[tuple[Any, ...]]) -> None:
        async def run() -> None:
            if store_url is None:
                await run_steps(MemoryEventLog(), "course:m", steps)
                return
            client = connect(store_url, name="test")
            blocking = connect(store_url, name="test", blocking=True)
            log = RedisEventLog(client, blocking)
            try:
                # Another partition each time, so that most examples need no flush.
                channel = f"course:t{next(counter)}"
                if isinstance(client, _cluster_type()):
                    await client.flushall(target_nodes="primaries")
                else:
                    await client.flushall()
                await run_steps(log, channel, steps)
            finally:
                await log.aclose()
                await client.aclose()
                await blocking.aclose()

        asyncio.run(run())

    check()


def _cluster_type() -> type:
    from redis.asyncio import RedisCluster

    return RedisCluster
