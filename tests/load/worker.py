"""Worker: from stream to facts, states, publications and series, compared with a naive worker on the same backlog."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import machine
import stack as stacks
from http_load import event_ids, one_event
from progress import Progress

from cell_monitor.embedded.process import ChildProcess, free_port
from cell_monitor_core import keys
from cell_monitor_core.channels import course_channel
from cell_monitor_core.records import StreamRecord, encode_record
from cell_monitor_core.redis_client import connect
from cell_monitor_core.streams.consumer import RedisEventConsumer
from cell_monitor_core.streams.producer import RedisEventProducer

__all__ = ["fill", "measure"]

PARTITIONS = 8
OURS_EVENTS = 20_000
NAIVE_EVENTS = 3_000
REQUEST = 10
"""Events per request, as the extensions of a class send them; it determines the size of the stream's entries."""


async def fill(redis_url: str, people: Sequence[tuple[str, UUID]], events: int, *, start: int) -> None:
    """Append ``events`` events of the people, ``REQUEST`` per call, in order of time."""
    client = connect(redis_url, name="bench")
    producer = RedisEventProducer(client, partitions=PARTITIONS, max_backlog_entries=10_000_000)
    await RedisEventConsumer(client, client, partitions=PARTITIONS).ensure_groups()
    ids = event_ids(start)
    begin = datetime.now(UTC) - timedelta(minutes=90)
    sequence = 0
    # New ones with each backlog: with numbers that a session used before, all events would come late.
    sessions = [str(uuid4()) for _ in people]
    for number in range(events // REQUEST):
        turn = number % len(people)
        course, person = people[turn]
        items = []
        for _ in range(REQUEST):
            sequence += 1
            event_id = next(ids)
            moment = (begin + timedelta(milliseconds=sequence)).isoformat(timespec="milliseconds")
            event = one_event(event_id, sequence, course=course, at=moment.replace("+00:00", "Z"))
            event["cell"]["source_id"] = f"exercise-{sequence % 8}"
            event["session_id"] = sessions[turn]
            record = StreamRecord(
                person_id=person.bytes,
                course_id=course,
                received_at=int(time.time() * 1000),
                event=json.dumps(event, separators=(",", ":")).encode(),
            )
            items.append((UUID(event_id).bytes, encode_record(record)))
        await producer.append(course_channel(course), items)
    await client.aclose()


class _Drain:
    """Polls both groups of all partitions until the backlog is empty."""

    def __init__(self, running: stacks.Stack) -> None:
        self._client = running.valkey.client()

    def read(self) -> tuple[bool, bool]:
        """Return whether an entry was read, and whether both groups have acknowledged all entries."""
        started, done = False, True
        for partition in range(PARTITIONS):
            stream = keys.events_stream(partition)
            if not self._client.exists(stream):
                continue
            last = self._client.xinfo_stream(stream)["last-generated-id"]
            groups = {g["name"].decode(): g for g in self._client.xinfo_groups(stream)}
            for name in keys.REQUIRED_GROUPS:
                group = groups.get(name)
                if group is None:
                    done = False
                    continue
                started = started or group["last-delivered-id"] != b"0-0"
                done = done and group["last-delivered-id"] == last and group["pending"] == 0
        return started, done

    def close(self) -> None:
        self._client.close()


def _drain(running: stacks.Stack, child: ChildProcess, events: int, *, timeout: float) -> dict[str, float]:
    """Measure the time until the backlog is empty, and the CPU of the worker and of PostgreSQL."""
    pid, postgres = child.pid or 0, running.postgres.process.pid or 0
    watch = _Drain(running)
    stacks.wait_for(lambda: watch.read()[0], timeout=60, what=f"{child.name} to read its first entry", interval=0.005)
    began = time.perf_counter()
    before = machine.cpu_seconds(pid), machine.cpu_seconds(postgres)
    stacks.wait_for(lambda: watch.read()[1], timeout=timeout, what=f"{child.name} to finish", interval=0.02)
    seconds = time.perf_counter() - began
    after = machine.cpu_seconds(pid), machine.cpu_seconds(postgres)
    watch.close()
    return {
        "rate": events / seconds,
        "worker_us": (after[0] - before[0]) / events * 1e6,
        "postgres_us": (after[1] - before[1]) / events * 1e6,
        "mib": machine.rss_mib(pid),
    }


def measure(
    running: stacks.Stack,
    database_url: str,
    people: Sequence[tuple[str, UUID]],
    progress: Progress,
    *,
    rounds: int,
) -> dict[str, Any]:
    """Return the rates, their ratio, CPU per event of worker and PostgreSQL, and the worker's memory."""
    influxdb = running.influx_settings()
    ours: list[dict[str, float]] = []
    naive: list[dict[str, float]] = []
    for number in range(rounds):
        progress.step(f"worker, round {number + 1} of {rounds}: ours, {OURS_EVENTS} events")
        _flush(running)
        asyncio.run(fill(running.valkey.url, people, OURS_EVENTS, start=2 * number + 1))
        port = free_port()
        child = running.spawn(
            "worker",
            [sys.executable, "-m", "cell_monitor_worker"],
            env=running.environment(database_url=database_url, worker_port=port, **influxdb),
            core=stacks.SERVED,
        )
        ours.append(_drain(running, child, OURS_EVENTS, timeout=120))
        running.stop(child)
        progress.step(f"worker, round {number + 1} of {rounds}: naive, {NAIVE_EVENTS} events")
        _flush(running)
        asyncio.run(fill(running.valkey.url, people, NAIVE_EVENTS, start=2 * number + 2))
        client = running.valkey.client()
        for partition in range(PARTITIONS):  # the naive worker creates its own groups
            for group in keys.REQUIRED_GROUPS:
                client.xgroup_destroy(keys.events_stream(partition), group)
        client.close()
        env = running.environment() | {"BENCH_DATABASE_URL": database_url}
        env |= {f"BENCH_{key.upper()}": value for key, value in influxdb.items()}
        child = running.spawn(
            "naive-worker",
            [sys.executable, stacks.HERE / "baselines" / "naive_worker.py", str(PARTITIONS)],
            env=env,
            core=stacks.SERVED,
        )
        naive.append(_drain(running, child, NAIVE_EVENTS, timeout=180))
        running.stop(child)

    def median(rows: list[dict[str, float]], key: str) -> float:
        return statistics.median(row[key] for row in rows)

    return {
        "targets": [
            {"name": name, **{key: median(rows, key) for key in ("rate", "worker_us", "postgres_us", "mib")}}
            for name, rows in (("naive worker", naive), ("ours", ours))
        ],
        "worker_vs_naive": statistics.median(a["rate"] / b["rate"] for a, b in zip(ours, naive, strict=True)),
        "worker_mib": max(row["mib"] for row in ours),
    }


def _flush(running: stacks.Stack) -> None:
    client = running.valkey.client()
    client.flushall()
    client.close()
