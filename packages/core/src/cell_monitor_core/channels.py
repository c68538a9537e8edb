"""Names of channels, and the partition of each.

A dashboard subscribes to a channel, ``course:{course_id}`` or ``test:{test_id}``. The events, the publication history
and the Pub/Sub messages of a channel are in one partition, so that one script on one node of a Redis Cluster can change
all of them.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache

__all__ = [
    "CHANNEL_KINDS",
    "COURSE_ID_PATTERN",
    "TEST_ID_PATTERN",
    "course_channel",
    "parse_channel",
    "partition_of",
    "test_channel",
]

COURSE_ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
TEST_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"

_IDS = {"course": re.compile(COURSE_ID_PATTERN), "test": re.compile(TEST_ID_PATTERN)}

CHANNEL_KINDS = frozenset(_IDS)
"""The part of a channel's name before the colon."""


def course_channel(course_id: str) -> str:
    """Return the channel of a course."""
    return f"course:{course_id}"


def test_channel(test_id: str) -> str:
    """Return the channel of one run in test mode."""
    return f"test:{test_id}"


# pytest would otherwise collect it as a test in each module that imports it.
test_channel.__test__ = False  # type: ignore[attr-defined]


def parse_channel(channel: str) -> tuple[str, str]:
    """Split a channel name into its kind, one of ``CHANNEL_KINDS``, and id.

    Raises:
        ValueError: the name is not of that form.
    """
    kind, _, ident = channel.partition(":")
    pattern = _IDS.get(kind)
    if pattern is not None and pattern.match(ident):
        return kind, ident
    raise ValueError(f"not a channel: {channel[:80]!r}")


@lru_cache(maxsize=4096)
def partition_of(channel: str, partitions: int) -> int:
    """Return the partition of a channel, 0 to ``partitions`` - 1.

    CRC-32 (ISO 3309) is stable across Python versions and machines, which ``hash()`` is not.
    """
    return zlib.crc32(channel.encode()) % partitions
