"""Cursors of pages that go from the newest to the oldest: the key of the last row of a page, for clients to pass on."""

from __future__ import annotations

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

__all__ = ["PageCursor", "RowKey"]

RowKey: TypeAlias = tuple[datetime, *tuple[int, ...], UUID]
"""What rows are ordered by: a time, perhaps numbers, and the row's id."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class PageCursor:
    """Writes and reads the cursors of one list.

    Args:
        numbers: how many numbers of 64 bits are between the time and the id.
    """

    def __init__(self, numbers: int = 0) -> None:
        self._struct = struct.Struct(f">q{numbers}q16s")

    def encode(self, key: RowKey) -> str:
        """Return the cursor of a row; the time counts in microseconds."""
        at, *numbers, row_id = key
        micros = (at - _EPOCH) // timedelta(microseconds=1)
        return base64.urlsafe_b64encode(self._struct.pack(micros, *numbers, row_id.bytes)).decode()

    def decode(self, cursor: str) -> RowKey:
        """Return the key of the row.

        Raises:
            ValueError: this is no cursor of the list.
        """
        try:
            raw = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
            micros, *numbers, row_id = self._struct.unpack(raw)
            return (_EPOCH + timedelta(microseconds=micros), *numbers, UUID(bytes=row_id))
        except (binascii.Error, ValueError, OverflowError, struct.error):
            raise ValueError("not a cursor: pass on next_before of the page before, unchanged") from None
