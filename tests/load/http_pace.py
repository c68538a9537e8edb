"""An open-loop load generator: failed runs at a fixed rate of events, each with the time at which it was sent.

The rate does not depend on the answers, so that waiting in the server is measured (no coordinated omission).
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from http_load import event_ids, one_event

__all__ = ["main", "run"]


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Send ``spec['rate']`` events per second, ``spec['batch']`` per request, of each student in turn; return counts."""
    students = spec["students"]
    # A page numbers the events of its own session from 1: with numbers that were used before, all would come late.
    sessions = [str(uuid4()) for _ in students]
    ids = event_ids(os.getpid())
    free: list[socket.socket] = []
    busy: dict[int, tuple[socket.socket, bytes]] = {}
    poller = select.epoll()
    accepted = refused = late = 0
    first_refusal = ""

    def connection() -> socket.socket:
        if free:
            return free.pop()
        opened = socket.create_connection(("127.0.0.1", spec["port"]))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poller.register(opened, select.EPOLLIN)
        return opened

    def collect(timeout: float) -> None:
        nonlocal accepted, refused, first_refusal
        for descriptor, _event in poller.poll(timeout):
            held, answer = busy.get(descriptor, (None, b""))
            if held is None:
                raise ConnectionError("the API closed an idle connection")
            data = answer + held.recv(262144)
            if not data.endswith(b"}"):
                busy[descriptor] = (held, data)
                continue
            del busy[descriptor]
            free.append(held)
            good = data.count(b'"accepted"')
            accepted += good
            if good != spec["batch"]:
                refused += spec["batch"] - good
                first_refusal = first_refusal or data[:600].decode(errors="replace")

    requests = int(spec["rate"] * spec["seconds"] / spec["batch"])
    pause = spec["batch"] / spec["rate"]
    sequence = 0
    began = time.perf_counter()
    for number in range(requests):
        due = began + number * pause
        while (left := due - time.perf_counter()) > 0:
            collect(left)
        late += left < -0.05
        turn = number % len(students)
        student = students[turn]
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        events = []
        for _ in range(spec["batch"]):
            sequence += 1
            event = one_event(next(ids), sequence, course=student["course"], at=at)
            event["session_id"] = sessions[turn]
            event["data"]["error"]["value"] = f"{spec['mark']}{time.monotonic_ns()}"
            events.append(event)
        body = json.dumps({"events": events}, separators=(",", ":")).encode()
        held = connection()
        held.sendall(
            b"POST /api/v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            + f"authorization: Bearer {student['token']}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        busy[held.fileno()] = (held, b"")
    elapsed = time.perf_counter() - began
    deadline = time.perf_counter() + 10
    while busy and time.perf_counter() < deadline:
        collect(0.1)
    return {
        "sent": requests * spec["batch"],
        "accepted": accepted,
        "refused": refused,
        "first_refusal": first_refusal,
        "late_requests": late,
        "rate": requests * spec["batch"] / elapsed,
    }


def main() -> None:
    """Read a specification file, run it, print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("specification", type=Path, help="JSON file: port, students, rate, batch, seconds, mark")
    json.dump(run(json.loads(parser.parse_args().specification.read_text())), sys.stdout)


if __name__ == "__main__":
    main()
