"""Hazard: `cell-monitor status` says that all is well while a store hangs or refuses every event."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from cell_monitor.data_directory import DataDirectory
from cell_monitor.embedded.valkey import EmbeddedValkey
from cell_monitor_core import keys
from cell_monitor_core.records import NO_RECORDS
from cell_monitor_testing.fixtures import temporary_directory
from cell_monitor_testing.standalone import StandaloneUp, run_cell_monitor

pytestmark = pytest.mark.stores


@pytest.fixture(scope="module")
def up() -> Iterator[StandaloneUp]:
    with temporary_directory("status") as folder:
        running = StandaloneUp(folder / "data", "--without-jupyterlab", "--without-dashboard")
        running.start()
        try:
            yield running
        finally:
            running.stop()


def status(up: StandaloneUp) -> tuple[int, dict[str, str]]:
    done = run_cell_monitor("status", "--json", "--data-dir", str(up.data_dir))
    return done.returncode, {name: part["state"] for name, part in json.loads(done.stdout)["parts"].items()}


def until(up: StandaloneUp, right: Callable[[int, dict[str, str]], bool]) -> dict[str, str]:
    deadline = time.monotonic() + 60
    while not right(*(said := status(up))):
        assert time.monotonic() < deadline, said
    return said[1]


def all_ready(code: int, states: dict[str, str]) -> bool:
    return code == 0 and set(states.values()) == {"ready"}


def test_a_postgresql_that_hangs_is_said(up: StandaloneUp) -> None:
    until(up, all_ready)
    server = up.child("postgres")
    family = [server, *server.children(recursive=True)]
    for process in family:
        process.send_signal(signal.SIGSTOP)
    try:
        said = {
            "api": "ready, but PostgreSQL does not answer",
            "worker": "not ready: PostgreSQL does not answer",
            "gateway": "ready",
        }
        # What a probe found a moment ago may be shown first.
        until(up, lambda code, states: code == 1 and states == said)
    finally:
        for process in family:
            process.send_signal(signal.SIGCONT)
    until(up, all_ready)


def test_a_full_redis_that_refuses_every_event_is_said(up: StandaloneUp) -> None:
    until(up, all_ready)
    client: Any = redis.Redis.from_url(valkey_url(DataDirectory(up.data_dir)))
    try:
        client.config_set("maxmemory", client.info("memory")["used_memory"] - 1)
        said = {"api": "ready, but Redis is full and refuses events", "worker": "ready", "gateway": "ready"}
        until(up, lambda code, states: code == 1 and states == said)
    finally:
        client.config_set("maxmemory", 0)
        client.close()
    until(up, all_ready)


def test_a_stream_at_its_limit_is_said(up: StandaloneUp) -> None:
    until(up, all_ready)
    worker = up.child("cell_monitor_worker")
    client: Any = redis.Redis.from_url(valkey_url(DataDirectory(up.data_dir)))
    worker.suspend()
    try:
        fill = "for i = 1, 101000 do redis.call('XADD', KEYS[1], '*', 'v', '1', 'b', ARGV[1]) end"
        client.eval(fill, 1, keys.events_stream(0), NO_RECORDS)
        said = "ready, but a stream of events has reached its limit and refuses events"
        until(up, lambda code, states: code == 1 and states["api"] == said)
    finally:
        client.xtrim(keys.events_stream(0), maxlen=0)
        worker.resume()
        client.close()
    until(up, all_ready)


def valkey_url(data: DataDirectory) -> str:
    instance = data.running_instance()
    assert instance is not None
    password = data.secrets.get("valkey-password")
    return EmbeddedValkey(data.valkey, password=password, port=instance.valkey_port).url
