"""A WebSocket load generator with low cost: many sockets, of which a sample is timed.

Every publication contains CLOCK_MONOTONIC in ns at its creation, by default as ``"at":<ns>``; all processes of a machine
share this clock. The sampled sockets, evenly distributed over the order of connection, are read as soon as bytes arrive.
The others are emptied a few at a time in between and their frames are counted, so that no additional core is needed.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import re
import resource
import select
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["MARK", "main", "run"]

MARK = '"at":'
_AT_A_TIME = 10
"""Number of other sockets that are emptied between two polls of the sampled ones, which takes about 50 µs."""


def _masked(text: str) -> bytes:
    """Return a client's text frame (RFC 6455, 5.2), masked with zeros, which is a valid mask."""
    payload = text.encode()
    if len(payload) < 126:
        head = struct.pack("!BB", 0x81, 0x80 | len(payload))
    else:
        head = struct.pack("!BBH", 0x81, 0xFE, len(payload))
    return head + b"\0\0\0\0" + payload


def _open(spec: dict[str, Any], hellos: list[dict[str, str]]) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", spec["port"]))
    protocol = f"sec-websocket-protocol: {spec['subprotocol']}\r\n" if spec.get("subprotocol") else ""
    connection.sendall(
        f"GET {spec['path']} HTTP/1.1\r\nhost: 127.0.0.1:{spec['port']}\r\nupgrade: websocket\r\n"
        f"connection: Upgrade\r\n{protocol}sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "sec-websocket-version: 13\r\n\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        chunk = connection.recv(4096)
        if not chunk:
            raise ConnectionError(f"no WebSocket at {spec['path']}: {answer[:200]!r}")
        answer += chunk
    if b" 101 " not in answer.split(b"\r\n", 1)[0]:
        raise ConnectionError(f"no WebSocket at {spec['path']}: {answer[:200]!r}")
    received = answer.split(b"\r\n\r\n", 1)[1]
    for hello in hellos:
        connection.sendall(_masked(hello["send"]))
        while hello["expect"].encode() not in received:
            chunk = connection.recv(65536)
            if not chunk:
                raise ConnectionError(f"closed after {hello['send'][:60]!r}: {received[:300]!r}")
            received += chunk
        received = b""
    connection.setblocking(False)
    return connection


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Print ``ready``, keep ``spec['sockets']`` connections open for ``spec['seconds']``, and return the result."""
    os.sched_setaffinity(0, {spec["core"]})
    mark = spec.get("mark", MARK).encode()
    pattern = re.compile(re.escape(mark) + rb"(\d+)")
    hellos = spec.get("hellos_of") or [spec.get("hellos", [])]
    connections = [_open(spec, hellos[index % len(hellos)]) for index in range(spec["sockets"])]
    step = max(1, len(connections) // spec.get("sample", 50))
    sampled = {connection.fileno(): connection for connection in connections[::step]}
    others = [connection for index, connection in enumerate(connections) if index % step]
    poller = select.epoll()
    for connection in sampled.values():
        poller.register(connection, select.EPOLLIN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()

    latencies: list[int] = []
    tails: dict[int, bytes] = {}
    deliveries = 0
    closed = 0

    def count(connection: socket.socket) -> None:
        nonlocal deliveries
        descriptor = connection.fileno()
        data = tails.pop(descriptor, b"") + drain(connection)
        deliveries += data.count(mark)
        tails[descriptor] = data[-(len(mark) - 1) :] if not data.endswith(mark) else b""

    def drain(connection: socket.socket) -> bytes:
        nonlocal closed
        pieces = []
        while True:
            try:
                piece = connection.recv(32768)
            except BlockingIOError:
                break
            if not piece:
                closed += 1
                break
            pieces.append(piece)
            if len(piece) < 32768:
                break
        return b"".join(pieces)

    # A pause of this process must not be measured as latency of the server.
    gc.disable()
    turn = itertools.cycle(others) if others else None
    stop = time.monotonic() + spec["seconds"]
    while time.monotonic() < stop:
        for descriptor, _event in poller.poll(0.001):
            data = tails.pop(descriptor, b"") + drain(sampled[descriptor])
            now = time.monotonic_ns()
            end = data.rfind(b"}")  # an incomplete time stamp waits for the rest of its bytes
            tails[descriptor] = data[end + 1 :]
            for match in pattern.finditer(data, 0, end + 1):
                latencies.append(now - int(match[1]))
                deliveries += 1
        if turn is not None:
            for connection in itertools.islice(turn, _AT_A_TIME):
                count(connection)
    for connection in others:
        count(connection)
    for connection in connections:
        connection.close()
    latencies.sort()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "deliveries": deliveries,
        "closed": closed,
        "samples": len(latencies),
        "p50_ms": latencies[len(latencies) // 2] / 1e6 if latencies else None,
        "p99_ms": latencies[int(len(latencies) * 0.99)] / 1e6 if latencies else None,
        "audience_cpu": (usage.ru_utime + usage.ru_stime) / spec["seconds"],
    }


def main() -> None:
    """Read a specification file, open the sockets, print ``ready`` and then the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("specification", type=Path, help="JSON file: port, path, sockets, seconds, hellos, …")
    spec = json.loads(parser.parse_args().specification.read_text())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < spec["sockets"] + 64:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, spec["sockets"] + 64), hard))
    json.dump(run(spec), sys.stdout)
    sys.stdout.write(os.linesep)


if __name__ == "__main__":
    main()
