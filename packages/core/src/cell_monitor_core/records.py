"""The stream entry: the form of queued events in Redis, between the API and the worker.

One entry carries up to 64 records (256 KiB) of one partition in the field ``b``, as MessagePack; the field ``v`` is the format's
version. A record keeps the event exactly as its sender wrote it, unknown fields included, together with what the API
proved or decided: who, which course, when received.

A *beat* is an entry without records that has a field ``w``: a worker of an earlier release finds nothing in it to store
and acknowledges it. See docs/adr/0019.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec

__all__ = [
    "ENTRY_VERSION",
    "MAX_BEAT_CHANNELS",
    "MAX_ENTRY_BYTES",
    "MAX_RECORDS_PER_ENTRY",
    "NO_RECORDS",
    "Beat",
    "EntryError",
    "StreamRecord",
    "decode_beat",
    "decode_entry",
    "deduplication_key",
    "encode_record",
    "encode_records",
    "entry_end",
]

ENTRY_VERSION: Final = b"1"
MAX_RECORDS_PER_ENTRY: Final = 64
MAX_ENTRY_BYTES: Final = 256 * 1024
MAX_BEAT_CHANNELS: Final = 1000
NO_RECORDS: Final = b"\x90"
"""An empty MessagePack array: the payload of a beat."""


class EntryError(ValueError):
    """A stream entry that is not of a known version or form; it belongs in ``failed_events``."""


class StreamRecord(msgspec.Struct, array_like=True, frozen=True):
    """One queued event.

    Attributes:
        person_id: UUID of the sender, 16 bytes, from the verified token.
        course_id: the course that the server decided on; empty for test events.
        received_at: milliseconds since the epoch, the API's clock.
        event: the event's JSON, UTF-8, as received.
        test_id: set in test mode only.
        traceparent: W3C trace context of a sampled request.
        waited_ms: how long the event had waited before the API received it (``events.waits``), milliseconds. Entries of
            releases that did not know it have none, and older workers leave it unread.
    """

    person_id: bytes
    course_id: str
    received_at: int
    event: bytes
    test_id: str | None = None
    traceparent: str | None = None
    waited_ms: int = 0


class Beat(msgspec.Struct, frozen=True):
    """What a beat says: every event that was queued before ``at`` precedes this entry in its partition's stream.

    Attributes:
        at: milliseconds since the epoch, the clock of the Redis node that holds the stream.
        channels: the course channels that were followed then.
    """

    at: int
    channels: tuple[str, ...]


def deduplication_key(person_id: bytes, event_id: str) -> bytes:
    """Return the 16 bytes by which the log knows an event of a person for some minutes.

    BLAKE2b (RFC 7693) of both ids: the same event id of two people gives two keys, and no id can be read from a key.

    Args:
        person_id: 16 bytes.
        event_id: a checked id.
    """
    return blake2b(person_id + event_id.encode(), digest_size=16).digest()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[StreamRecord])
_DUPLICATE: Final = ord("1")


def encode_record(record: StreamRecord) -> bytes:
    """Encode one record; records of several requests are later joined by ``encode_records``."""
    return _encoder.encode(record)


def encode_records(encoded: list[bytes]) -> bytes:
    """Join 1 to 64 encoded records into the payload of one entry.

    Raises:
        ValueError: none or too many records.
    """
    count = len(encoded)
    if not 0 < count <= MAX_RECORDS_PER_ENTRY:
        raise ValueError(f"an entry holds 1 to {MAX_RECORDS_PER_ENTRY} records, not {count}")
    # MessagePack: fixarray up to 15 items, array 16 beyond (spec, "array format family").
    header = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return b"".join([header, *encoded])


def entry_end(records: list[bytes], start: int, size: int) -> int:
    """Return where an entry that begins with the record ``start`` ends, so that it stays within its bounds.

    One record always fits. ``size`` is an upper bound of the bytes of all records: while that is within the bounds, none
    of them is looked at.
    """
    end = min(start + MAX_RECORDS_PER_ENTRY, len(records))
    if size <= MAX_ENTRY_BYTES:
        return end
    held = 0
    for index in range(start, end):
        held += len(records[index])
        if held > MAX_ENTRY_BYTES and index > start:
            return index
    return end


def decode_entry(fields: dict[bytes, bytes], *, duplicates: bool = False) -> list[StreamRecord]:
    """Decode an entry's fields as Redis returns them.

    Args:
        fields: of the entry.
        duplicates: return records as well whose event was queued before, as the field ``d`` says (``1`` at their places).

    Raises:
        EntryError: unknown version, missing payload or malformed MessagePack.
    """
    version = fields.get(b"v")
    if version != ENTRY_VERSION:
        raise EntryError(f"stream entry of version {version!r}, this worker reads {ENTRY_VERSION!r}")
    payload = fields.get(b"b")
    if payload is None:
        raise EntryError("stream entry without its payload field b")
    try:
        records = _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise EntryError(f"stream entry is not readable: {error}") from error
    marks = fields.get(b"d")
    if marks is None or duplicates or len(marks) != len(records):
        return records
    return [record for record, mark in zip(records, marks, strict=True) if mark != _DUPLICATE]


def decode_beat(fields: dict[bytes, bytes]) -> Beat | None:
    """Return the beat that an entry is; None for an entry with records, and for a beat of a form that is not known.

    The field ``w`` holds the time and the channels, one a line.
    """
    text = fields.get(b"w")
    if text is None or fields.get(b"b") != NO_RECORDS:
        return None
    at, *channels = text[:MAX_ENTRY_BYTES].decode(errors="replace").split("\n")
    if not at.isdecimal() or not at.isascii() or len(at) > 15:
        return None
    return Beat(int(at), tuple(channels[:MAX_BEAT_CHANNELS]))
