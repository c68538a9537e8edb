"""Every Redis key, Pub/Sub channel and hash tag of Cell Monitor, defined once.

All keys of one partition share the hash tag ``{p<nn><xx>}`` and therefore one slot of a Redis Cluster, so that a script
may use several of them. https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "GROUP_POSTGRES",
    "GROUP_TIMESERIES",
    "MAX_PARTITIONS",
    "REQUIRED_GROUPS",
    "check_partitions",
    "events_stream",
    "followed_channels",
    "history_stream",
    "partition_tag",
    "presence_zset",
    "publication_channel",
    "publication_meta",
    "publication_versions",
    "refused_courses",
    "refused_senders",
    "revocations",
    "seen_set",
    "sign_in_attempts",
    "test_progress",
    "watermark_channel",
    "watermark_lease",
    "watermark_newest",
]

GROUP_POSTGRES = "postgres"
GROUP_TIMESERIES = "influxdb"
REQUIRED_GROUPS = (GROUP_POSTGRES, GROUP_TIMESERIES)
"""Groups that must exist before a stream may be trimmed. An entry is kept until both have acknowledged it."""


MAX_PARTITIONS: Final = 64


def check_partitions(partitions: int) -> None:
    """Check a number of partitions.

    Raises:
        ValueError: it is not within 1 to 64.
    """
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise ValueError(f"partitions must be 1 to {MAX_PARTITIONS}, not {partitions}")


# CRC-16 is linear, so tags that differ in one digit get nearby slots: {p00}..{p07} would put four of eight partitions on
# one of three masters. The two letters after the number were chosen so that tag i gets a slot near the bit reversal of
# i: the first 4, 8, 16, 32 or 64 partitions are then distributed evenly over any number of masters.
_LETTERS: Final = (
    "pecmjufaluqbfxzqjmvdojscctqbcgoscdopusizbpaewattmpqyxadhhetlmbqk"
    "ruobmzqsadbqhotfubvwpncffszzsbpwpglnzaiifbzkymedibukohsahvkcmzan"
)
_TAGS: Final = tuple(f"{{p{number:02d}{_LETTERS[2 * number : 2 * number + 2]}}}" for number in range(MAX_PARTITIONS))


def partition_tag(partition: int) -> str:
    """Return the hash tag of a partition, 0 to 63, braces included."""
    return _TAGS[partition]


def events_stream(partition: int) -> str:
    """Stream of packed event entries (see ``records``)."""
    return f"cm:{partition_tag(partition)}:events"


def seen_set(partition: int, bucket: int) -> str:
    """Set of the ``records.deduplication_key`` (16 bytes each) of the events queued during one time bucket."""
    return f"cm:{partition_tag(partition)}:seen:{bucket}"


def publication_channel(partition: int) -> str:
    """Sharded Pub/Sub channel of all live publications of a partition."""
    return f"cm:{partition_tag(partition)}:publications"


def publication_meta(partition: int, channel: str) -> str:
    """Hash with a channel's ``epoch`` and ``offset``."""
    return f"cm:{partition_tag(partition)}:{channel}:meta"


def history_stream(partition: int, channel: str) -> str:
    """Stream of a channel's newest publications; the entry id is ``<offset>-0``."""
    return f"cm:{partition_tag(partition)}:{channel}:history"


def publication_versions(partition: int, channel: str) -> str:
    """Hash of the newest version published for each ``kind:key`` of a channel."""
    return f"cm:{partition_tag(partition)}:{channel}:versions"


def refused_senders(partition: int, channel: str) -> str:
    """Sorted set of digests of senders whose events were refused in a course; the score is the time in Unix seconds."""
    return f"cm:{partition_tag(partition)}:{channel}:refused"


def refused_courses() -> str:
    """Sorted set of the courses in which events were refused lately; the score is the time in Unix seconds."""
    return "cm:{refused}"


def presence_zset(partition: int, channel: str) -> str:
    """Sorted set of the connections that are subscribed to a channel; the score is the expiry in Unix seconds."""
    return f"cm:{partition_tag(partition)}:{channel}:presence"


def followed_channels(partition: int) -> str:
    """Sorted set of a partition's course channels that have subscribers; the score is the expiry in Unix seconds."""
    return f"cm:{partition_tag(partition)}:followed"


def watermark_lease(partition: int) -> str:
    """Token of the API process that appends the partition's beats; expires if the process does not renew it."""
    return f"cm:{partition_tag(partition)}:watermark-lease"


def watermark_newest(partition: int) -> str:
    """Entry id of the newest beat that was published: no older one is published after it."""
    return f"cm:{partition_tag(partition)}:watermark-newest"


def watermark_channel(partition: int) -> str:
    """Sharded Pub/Sub channel of a partition's watermarks.

    Apart from the publications, because gateways of earlier releases cannot read them. Both channels are in one slot, so a
    connection that is subscribed to both receives their messages in the order in which Redis executed the commands.
    """
    return f"cm:{partition_tag(partition)}:watermarks"


def test_progress(partition: int, test_id: str, person_id: bytes) -> str:
    """Hash of one sender's events of a run in test mode: ``<event_id>:<stage>`` to when it was reached (RFC 3339)."""
    return f"cm:{partition_tag(partition)}:test:{test_id}:{person_id.hex()}:progress"


test_progress.__test__ = False  # type: ignore[attr-defined]


def revocations() -> str:
    """Sorted set of what ended access tokens lately; the score is when it was written, in Unix milliseconds."""
    return "cm:{revocations}"


def sign_in_attempts(kind: str, digest: str) -> str:
    """Counter of failed sign-ins or wrong join codes in a window, with which it expires; ``digest`` is a keyed hash.

    ``kind`` is ``address``, ``account``, ``pair`` (of both), ``device`` (a browser's random id) or ``link`` (an address); of
    join codes ``join_address`` or ``join_code`` (the first part of a code).
    """
    return f"cm:{{signin}}:{kind}:{digest}"
