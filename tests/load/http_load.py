"""A closed-loop HTTP load generator with low cost: one thread, epoll, prebuilt requests.

Each connection sends its next request when the answer to the previous one is complete. An answer is complete when it
ends with the known last bytes of the target's answers, which needs no parser; each status line is checked.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import select
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["event_ids", "main", "one_event", "run"]

SESSION = "0f8fad5b-d9cb-469f-a165-70867728950e"


def event_ids(start: int) -> Iterator[str]:
    """Yield distinct UUIDv7 (RFC 9562) with the current time; ``start`` makes generators distinct."""
    milliseconds = int(time.time() * 1000)
    prefix = f"{milliseconds:012x}"
    for number in itertools.count(start):
        yield f"{prefix[:8]}-{prefix[8:]}-7{(number >> 48) & 0xFFF:03x}-8{start & 0xFFF:03x}-{number & 0xFFFFFFFFFFFF:012x}"


def one_event(event_id: str, seq: int, *, course: str, at: str) -> dict[str, Any]:
    """Return a ``cell_executed`` event of about 900 bytes, as of a student's failed run."""
    return {
        "event_id": event_id,
        "type": "cell_executed",
        "schema_version": 1,
        "occurred_at": at,
        "session_id": SESSION,
        "seq": seq,
        "notebook": {"id": "nb-exercises", "path": "week1/exercises.ipynb", "title": "Exercises"},
        "cell": {"id": "c0ffee", "source_id": "exercise-3", "index": 7, "type": "code", "heading": "Exercise 3"},
        "course": course,
        "data": {
            "execution_id": SESSION,
            "execution_count": 12,
            "status": "error",
            "duration_ms": 38,
            "code": "total = 0\nfor value in values:\n    total += valeu\nprint(total)",
            "outputs": [{"type": "stream", "name": "stdout", "text": "reading values\n", "size": 15}],
            "error": {
                "name": "NameError",
                "value": "name 'valeu' is not defined",
                "traceback": "Traceback (most recent call last):\n  Cell In[12], line 3\nNameError: name 'valeu' is not defined",
            },
        },
    }


class _Connection:
    __slots__ = ("answer", "sent_at", "socket")

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.answer = b""
        self.sent_at = 0.0


def _templates(spec: dict[str, Any]) -> list[tuple[list[bytes], int]]:
    """Return, for each token, the request split at the positions of event ids, and the number of ids."""
    cut = []
    placeholder = "00000000-0000-7000-8000-"
    for index, token in enumerate(spec["tokens"]):
        ids = [f"{placeholder}{n:012x}" for n in range(spec["batch"])]
        body = json.dumps(
            {"events": [one_event(i, n + 1, course=spec["course"], at=spec["at"]) for n, i in enumerate(ids)]}
            if spec["shape"] == "batch"
            else one_event(ids[0], index + 1, course=spec["course"], at=spec["at"]),
            separators=(",", ":"),
        )
        head = (
            f"POST {spec['path']} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {token}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        text = head + body
        parts = []
        for event_id in ids:
            before, text = text.split(event_id, 1)
            parts.append(before.encode())
        parts.append(text.encode())
        cut.append((parts, spec["batch"]))
    return cut


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Load one target for ``spec['seconds']``; return counts, rate, latencies in ms and CPU time of this process."""
    os.sched_setaffinity(0, {spec["core"]})
    templates = itertools.cycle(_templates(spec))
    ids = event_ids(spec.get("start", os.getpid()))
    ending = spec["ending"].encode()
    good = b"HTTP/1.1 " + str(spec["status"]).encode()
    poller = select.epoll()
    connections: dict[int, _Connection] = {}

    def request() -> bytes:
        parts, count = next(templates)
        if count == 1:
            return parts[0] + next(ids).encode() + parts[1]
        pieces = [parts[0]]
        for part in parts[1:]:
            pieces.append(next(ids).encode())
            pieces.append(part)
        return b"".join(pieces)

    def send(connection: _Connection) -> None:
        data = request()
        connection.answer = b""
        connection.sent_at = time.perf_counter()
        sent = connection.socket.send(data)
        while sent < len(data):  # the request is larger than the socket's buffer: wait until it can be written
            select.select([], [connection.socket], [])
            sent += connection.socket.send(data[sent:])

    for _ in range(spec["connections"]):
        connection = _Connection(("127.0.0.1", spec["port"]))
        connections[connection.socket.fileno()] = connection
        poller.register(connection.socket, select.EPOLLIN)

    latencies: list[float] = []
    requests = errors = 0
    first_error = ""
    started = time.perf_counter()
    stop = started + spec["seconds"]
    for connection in connections.values():
        send(connection)
    now = started
    while now < stop:
        for descriptor, _event in poller.poll(1):
            connection = connections[descriptor]
            data = connection.socket.recv(262144)
            if not data:
                raise ConnectionError("the server closed a connection")
            if connection.answer:
                data = connection.answer + data
            if not data.endswith(ending):
                connection.answer = data
                continue
            now = time.perf_counter()
            latencies.append(now - connection.sent_at)
            requests += 1
            if not data.startswith(good):
                errors += 1
                first_error = first_error or data[:600].decode(errors="replace")
            send(connection)
    elapsed = time.perf_counter() - started
    for connection in connections.values():
        connection.socket.close()
    latencies.sort()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "requests": requests,
        "errors": errors,
        "first_error": first_error,
        "seconds": elapsed,
        "rate": requests / elapsed,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
        "generator_cpu": (usage.ru_utime + usage.ru_stime) / elapsed,
    }


def main() -> None:
    """Read a specification file, run it, print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("specification", type=Path, help="JSON file: port, path, tokens, connections, seconds, …")
    json.dump(run(json.loads(parser.parse_args().specification.read_text())), sys.stdout)


if __name__ == "__main__":
    main()
