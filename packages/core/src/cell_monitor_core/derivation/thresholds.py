"""A course's thresholds: from which number or time on a student counts as stuck, quiet or left.

The defaults and the bounds of every threshold are stated here and nowhere else.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

__all__ = ["Thresholds", "bounds"]

_DAY_S: Final = 86_400
_Count = Annotated[int, msgspec.Meta(ge=1, le=100)]
# Of older senders the newest 20 deaths are kept (``students.StudentFold.unplaced_deaths``).
_Deaths = Annotated[int, msgspec.Meta(ge=1, le=20)]
_Seconds = Annotated[int, msgspec.Meta(ge=10, le=_DAY_S)]
# A hidden page sends a heartbeat once a minute: below that every student who switches tabs would count as left.
_OfflineSeconds = Annotated[int, msgspec.Meta(ge=60, le=_DAY_S)]


class Thresholds(msgspec.Struct, frozen=True):
    """When a student counts as stuck, a run as long, a student as quiet or as left.

    Attributes:
        stuck_errors: failed runs of one cell in a row.
        kernel_deaths: deaths of the kernel in a row that one cell caused.
        long_run_s: seconds that one run takes.
        idle_s: seconds without any activity.
        offline_s: seconds without any event, heartbeats included (``StudentState.last_seen_at``).
    """

    stuck_errors: _Count = 3
    kernel_deaths: _Deaths = 3
    long_run_s: _Seconds = 180
    idle_s: _Seconds = 480
    offline_s: _OfflineSeconds = 60


def bounds(threshold: str) -> tuple[int, int]:
    """Return the lowest and the highest value of a threshold.

    Raises:
        KeyError: there is no threshold of that name.
    """
    info = msgspec.inspect.type_info(Thresholds)
    assert isinstance(info, msgspec.inspect.StructType)
    kind = {field.name: field.type for field in info.fields}[threshold]
    assert isinstance(kind, msgspec.inspect.IntType)
    assert kind.ge is not None
    assert kind.le is not None
    return kind.ge, kind.le
