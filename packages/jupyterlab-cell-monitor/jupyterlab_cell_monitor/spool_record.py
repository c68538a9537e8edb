"""The form of one spooled event on the disk: a frame with a header (magic, length, CRC-32) and a payload.

A payload is a line and the event's JSON. The line has the test's name, which may be empty, and after it, each behind a space,
what else is known: the trace of the request, ``w=`` the milliseconds that the event had waited before, ``h=`` when it was
taken (clock, its milliseconds, milliseconds since 1970). Files of versions without them can still be read.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from .ingest_body import sampled
from .waits import Moment

__all__ = ["HEADER_BYTES", "MAX_PAYLOAD", "Record", "frame_of", "payload_of", "record_of", "scan"]

MAX_PAYLOAD = 1024 * 1024

_HEADER = struct.Struct("<4sII")
_MAGIC = b"CMS1"
_WAITED = re.compile(r"w=(\d{1,15})")
_HELD = re.compile(r"h=([0-9a-f-]{1,64}):(\d{1,18}):(-?\d{1,18})")

HEADER_BYTES = _HEADER.size


@dataclass(frozen=True, slots=True)
class Record:
    """One spooled event.

    Attributes:
        event: the event as JSON.
        test_id: the test it belongs to; None for real events.
        traceparent: W3C trace context of the request that brought it; forgotten if that was not sampled.
        waited_ms: how long it had waited in the browser.
        taken: when it was taken; None where a version that did not note it took it.
    """

    event: bytes
    test_id: str | None = None
    traceparent: str | None = None
    waited_ms: int = 0
    taken: Moment | None = None


def frame_of(record: Record) -> bytes:
    """A record's frame."""
    words = [record.test_id or ""]
    # Only a trace that is sampled is kept: each costs a request of its own later.
    traceparent = sampled(record.traceparent)
    if traceparent:
        words.append(traceparent)
    if record.waited_ms:
        words.append(f"w={record.waited_ms}")
    if record.taken is not None:
        words.append(f"h={record.taken.clock}:{record.taken.ticks_ms}:{record.taken.wall_ms}")
    payload = " ".join(words).encode("ascii") + b"\n" + record.event
    return _HEADER.pack(_MAGIC, len(payload), zlib.crc32(payload)) + payload


def payload_of(frame: bytes) -> bytes | None:
    """A frame's payload; None where the frame is not whole."""
    if len(frame) < _HEADER.size:
        return None
    magic, length, checksum = _HEADER.unpack_from(frame)
    payload = frame[_HEADER.size :]
    if magic != _MAGIC or length != len(payload) or zlib.crc32(payload) != checksum:
        return None
    return payload


def record_of(payload: bytes) -> Record:
    """The record of a payload; what its line has that is not understood is left out."""
    line, _, event = payload.partition(b"\n")
    test_id, *words = line.decode("ascii", "replace").split(" ")
    traces, waited_ms, taken = [], 0, None
    for word in words:
        if waited := _WAITED.fullmatch(word):
            waited_ms = int(waited[1])
        elif held := _HELD.fullmatch(word):
            taken = Moment(held[1], int(held[2]), int(held[3]))
        else:
            traces.append(word)
    return Record(event, test_id or None, sampled(" ".join(traces)), waited_ms, taken)


def scan(path: Path) -> deque[int]:
    """The ends of the whole frames from the start of a segment."""
    ends: deque[int] = deque()
    offset = 0
    with path.open("rb") as file:
        while True:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return ends
            magic, length, _ = _HEADER.unpack(header)
            if magic != _MAGIC or length > MAX_PAYLOAD:
                return ends
            frame = header + file.read(length)
            if payload_of(frame) is None:
                return ends
            offset += len(frame)
            ends.append(offset)
