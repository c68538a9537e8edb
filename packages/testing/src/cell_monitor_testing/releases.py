"""Another release of the services, as far as the events that it knows are concerned."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from cell_monitor_core.derivation import facts
from cell_monitor_core.events.codec import EventReader
from cell_monitor_core.events.types import EVENT_TYPES

__all__ = ["earlier_release"]


@contextmanager
def earlier_release(*unknown: str) -> Iterator[None]:
    """Read facts, in this process and inside the block, as a release does that does not know these types yet."""
    known = {name: event_type for name, event_type in EVENT_TYPES.items() if name not in unknown}
    union = functools.reduce(operator.or_, (event_type.struct for event_type in known.values()))
    with patch.object(facts, "decode_event", EventReader(union, known).read):
        yield
