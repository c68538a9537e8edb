"""What the ports ``EventProducer`` and ``EventConsumer`` promise, whichever adapter is behind them."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import RedisCluster

from cell_monitor_core.channels import partition_of
from cell_monitor_core.keys import GROUP_POSTGRES, GROUP_TIMESERIES
from cell_monitor_core.records import StreamRecord, decode_entry, encode_record
from cell_monitor_core.storage.ports import LogUnavailable
from cell_monitor_testing.memory_streams import MemoryEventProducer

CHANNEL = "course:c1"
PARTITION = partition_of(CHANNEL, 8)
NOW = timedelta(0)
SOON = timedelta(seconds=10)


def item(text: str = "{}", event_id: bytes | None = None) -> tuple[bytes, bytes]:
    return event_id or os.urandom(16), encode_record(StreamRecord(b"p" * 16, "c1", 1, text.encode()))


async def texts(consumer: Any, group: str = GROUP_POSTGRES) -> list[str]:
    entries = await consumer.read(PARTITION, group, "a", count=1000, block=NOW)
    return [record.event.decode() for entry in entries for record in decode_entry(entry.fields)]


async def test_what_was_accepted_is_read_in_order_by_every_group(producer: Any, consumer: Any) -> None:
    await consumer.ensure_groups()
    sent = [f"{number}" for number in range(150)]
    assert await producer.append(CHANNEL, [item(text) for text in sent]) == ["accepted"] * 150
    assert await texts(consumer, GROUP_POSTGRES) == sent
    assert await texts(consumer, GROUP_TIMESERIES) == sent
    assert await texts(consumer, GROUP_POSTGRES) == []


async def test_entries_queued_before_the_groups_existed_are_read(producer: Any, consumer: Any) -> None:
    await producer.append(CHANNEL, [item("early")])
    await consumer.ensure_groups()
    assert await texts(consumer) == ["early"]


async def test_ensure_groups_twice_forgets_no_position(producer: Any, consumer: Any) -> None:
    await consumer.ensure_groups()
    await producer.append(CHANNEL, [item("1")])
    assert await texts(consumer) == ["1"]
    await consumer.ensure_groups()
    assert await texts(consumer) == []


async def test_the_same_id_again_is_answered_duplicate_and_not_queued_again(producer: Any, consumer: Any) -> None:
    await consumer.ensure_groups()
    once = item("once")
    assert await producer.append(CHANNEL, [once]) == ["accepted"]
    assert await producer.append(CHANNEL, [once]) == ["duplicate"]
    assert await texts(consumer) == ["once"]


async def test_a_copy_that_is_sent_again_with_new_ones_is_read_once(producer: Any, consumer: Any) -> None:
    await consumer.ensure_groups()
    once, other = item("once"), item("other")
    assert await producer.append(CHANNEL, [once]) == ["accepted"]
    # Its receipt is another one by now, and so would be its place in the time series.
    assert await producer.append(CHANNEL, [once, other, once]) == ["duplicate", "accepted", "duplicate"]
    assert await texts(consumer) == ["once", "other"]


async def test_two_copies_in_one_call_are_one_accepted_and_one_duplicate(producer: Any) -> None:
    same = item("same")
    other = item("other")
    assert await producer.append(CHANNEL, [same, other, same]) == ["accepted", "accepted", "duplicate"]


async def test_concurrent_callers_with_one_id_get_one_acceptance(producer: Any) -> None:
    same = item("same")
    outcomes = await asyncio.gather(*(producer.append(CHANNEL, [same, item()]) for _ in range(40)))
    assert sorted(outcome[0] for outcome in outcomes) == ["accepted"] + ["duplicate"] * 39
    assert all(outcome[1] == "accepted" for outcome in outcomes)


async def test_many_callers_on_many_partitions_each_get_their_own_answer(producer: Any) -> None:
    known = {f"course:c{number}": item(f"{number}") for number in range(50)}
    for channel, one in known.items():
        await producer.append(channel, [one])
    outcomes = await asyncio.gather(
        *(producer.append(channel, [item(), one, item()]) for channel, one in known.items())
    )
    assert outcomes == [["accepted", "duplicate", "accepted"]] * 50


async def test_an_empty_call_is_answered_with_nothing(producer: Any) -> None:
    assert await producer.append(CHANNEL, []) == []


async def test_an_id_of_another_length_is_refused_before_it_can_shift_others(producer: Any) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        await producer.append(CHANNEL, [(b"short", b"x")])


async def test_a_blocked_reader_gets_what_arrives_meanwhile(producer: Any, consumer: Any) -> None:
    await consumer.ensure_groups()
    reader = asyncio.create_task(consumer.read(PARTITION, GROUP_POSTGRES, "a", count=10, block=SOON))
    await asyncio.sleep(0)
    await producer.append(CHANNEL, [item("late")])
    assert len(await asyncio.wait_for(reader, 60)) == 1


async def test_a_dead_consumers_entries_are_taken_over_with_their_count(producer: Any, consumer: Any) -> None:
    await consumer.ensure_groups()
    await producer.append(CHANNEL, [item("a")])
    await producer.append(CHANNEL, [item("b")])
    first = await consumer.read(PARTITION, GROUP_POSTGRES, "dead", count=10, block=NOW)
    assert [entry.deliveries for entry in first] == [1, 1]
    await consumer.acknowledge(PARTITION, GROUP_POSTGRES, [first[0].entry_id])
    again = await consumer.reclaim(PARTITION, GROUP_POSTGRES, "alive", min_idle=NOW, count=10)
    assert [(entry.entry_id, entry.fields, entry.deliveries) for entry in again] == [
        (first[1].entry_id, first[1].fields, 2)
    ]
    thrice = await consumer.reclaim(PARTITION, GROUP_POSTGRES, "alive", min_idle=NOW, count=10)
    assert [entry.deliveries for entry in thrice] == [3]


async def test_a_living_consumers_entries_are_left_alone(producer: Any, consumer: Any) -> None:
    await consumer.ensure_groups()
    await producer.append(CHANNEL, [item()])
    await consumer.read(PARTITION, GROUP_POSTGRES, "alive", count=10, block=NOW)
    assert await consumer.reclaim(PARTITION, GROUP_POSTGRES, "other", min_idle=timedelta(minutes=1), count=10) == []


async def test_reclaim_reaches_entries_beyond_its_count(producer: Any, consumer: Any) -> None:
    await consumer.ensure_groups()
    for number in range(7):
        await producer.append(CHANNEL, [item(f"{number}")])
    given_out = await consumer.read(PARTITION, GROUP_POSTGRES, "dead", count=10, block=NOW)
    taken: set[str] = set()
    for _ in range(4):
        entries = await consumer.reclaim(PARTITION, GROUP_POSTGRES, "alive", min_idle=NOW, count=3)
        await consumer.acknowledge(PARTITION, GROUP_POSTGRES, [entry.entry_id for entry in entries])
        taken |= {entry.entry_id for entry in entries}
    assert taken == {entry.entry_id for entry in given_out}


async def test_lag_counts_what_is_unread_and_what_is_unfinished(producer: Any, consumer: Any) -> None:
    await consumer.ensure_groups()
    assert await consumer.lag(PARTITION, GROUP_POSTGRES) == (0, 0.0)
    for _ in range(3):
        await producer.append(CHANNEL, [item()])
    count, age = await consumer.lag(PARTITION, GROUP_POSTGRES)
    assert count == 3
    assert age >= 0
    entries = await consumer.read(PARTITION, GROUP_POSTGRES, "a", count=2, block=NOW)
    assert (await consumer.lag(PARTITION, GROUP_POSTGRES))[0] == 3
    await consumer.acknowledge(PARTITION, GROUP_POSTGRES, [entry.entry_id for entry in entries])
    assert (await consumer.lag(PARTITION, GROUP_POSTGRES))[0] == 1
    assert (await consumer.lag(PARTITION, GROUP_TIMESERIES))[0] == 3


async def test_lag_without_the_group_is_the_whole_stream(producer: Any, consumer: Any) -> None:
    await producer.append(CHANNEL, [item()])
    assert (await consumer.lag(PARTITION, GROUP_POSTGRES))[0] == 1


async def test_nothing_is_trimmed_while_a_required_group_is_missing(producer: Any, consumer: Any) -> None:
    await producer.append(CHANNEL, [item("kept")])
    entries = await consumer.read(PARTITION, GROUP_POSTGRES, "a", count=10, block=NOW)
    await consumer.acknowledge(PARTITION, GROUP_POSTGRES, [entry.entry_id for entry in entries])
    assert await consumer.trim(PARTITION) == 0
    await consumer.ensure_groups()
    assert await texts(consumer, GROUP_TIMESERIES) == ["kept"]


async def test_trimming_an_absent_stream_is_no_error(consumer: Any) -> None:
    assert await consumer.trim(PARTITION) == 0


async def test_a_full_stream_takes_no_more_but_still_knows_duplicates(producer: Any, consumer: Any) -> None:
    if isinstance(producer, MemoryEventProducer):
        producer._max_backlog_entries = 2
    else:
        producer._bounds = (b"2", *producer._bounds[1:])
    await consumer.ensure_groups()
    first = item("1")
    await producer.append(CHANNEL, [first])
    await producer.append(CHANNEL, [item("2")])
    with pytest.raises(LogUnavailable, match="backlog full"):
        await producer.append(CHANNEL, [item("3")])
    assert await producer.append(CHANNEL, [first]) == ["duplicate"]
    for group in (GROUP_POSTGRES, GROUP_TIMESERIES):
        entries = await consumer.read(PARTITION, group, "a", count=10, block=NOW)
        await consumer.acknowledge(PARTITION, group, [entry.entry_id for entry in entries])
    assert await consumer.trim(PARTITION) == 2
    assert await producer.append(CHANNEL, [item("3")]) == ["accepted"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3)),
        st.tuples(st.just("read"), st.sampled_from([GROUP_POSTGRES, GROUP_TIMESERIES]), st.integers(1, 3)),
        st.tuples(st.just("acknowledge"), st.sampled_from([GROUP_POSTGRES, GROUP_TIMESERIES]), st.integers(0, 5)),
        st.tuples(st.just("trim")),
    ),
    max_size=25,
)


async def run_steps(producer: Any, consumer: Any, channel: str, steps: list[tuple[Any, ...]]) -> None:
    """Whatever the order of reads, acknowledgements and trims, each group ends with having been given everything."""
    partition = partition_of(channel, 8)
    await consumer.ensure_groups()
    sent: list[str] = []
    received: dict[str, list[str]] = {GROUP_POSTGRES: [], GROUP_TIMESERIES: []}
    pending: dict[str, dict[str, list[str]]] = {GROUP_POSTGRES: {}, GROUP_TIMESERIES: {}}

    async def read(group: str, count: int) -> int:
        entries = await consumer.read(partition, group, "a", count=count, block=NOW)
        for entry in entries:
            pending[group][entry.entry_id] = [record.event.decode() for record in decode_entry(entry.fields)]
        return len(entries)

    async def acknowledge(group: str, entry_ids: list[str]) -> None:
        await consumer.acknowledge(partition, group, entry_ids)
        for entry_id in entry_ids:
            received[group] += pending[group].pop(entry_id)

    for step in steps:
        if step[0] == "append":
            for _ in range(step[1]):
                sent.append(f"{len(sent)}")
                await producer.append(channel, [item(sent[-1])])
        elif step[0] == "read":
            await read(step[1], step[2])
        elif step[0] == "acknowledge":
            waiting = sorted(pending[step[1]])
            if waiting:
                await acknowledge(step[1], [waiting[step[2] % len(waiting)]])
        else:
            await consumer.trim(partition)
    for group, texts_of_group in received.items():
        while await read(group, 10):
            pass
        # What a dead consumer left must still be there with its content.
        again = await consumer.reclaim(partition, group, "b", min_idle=NOW, count=100)
        assert {entry.entry_id for entry in again} == set(pending[group])
        for entry in again:
            assert [record.event.decode() for record in decode_entry(entry.fields)] == pending[group][entry.entry_id]
        await acknowledge(group, list(pending[group]))
        assert sorted(texts_of_group, key=int) == sent
    await consumer.trim(partition)
    assert await consumer.lag(partition, GROUP_POSTGRES) == (0, 0.0)


def test_trim_never_removes_what_a_group_needs(open_streams: Any) -> None:
    counter = iter(range(1_000_000))

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(steps=STEPS)
    def check(steps: list[tuple[Any, ...]]) -> None:
        async def run() -> None:
            async with open_streams() as streams:
                if streams.client is not None:
                    targets = {"target_nodes": "primaries"} if isinstance(streams.client, RedisCluster) else {}
                    await streams.client.flushall(**targets)
                # Another channel each time: what an earlier example left in this process belongs to another partition.
                await run_steps(streams.producer, streams.consumer, f"course:t{next(counter)}", steps)

        asyncio.run(run())

    check()
