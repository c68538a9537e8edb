"""When something that is done again and again, by whichever process comes first, is due next."""

from __future__ import annotations

from typing import Final

__all__ = ["due_again"]

_JITTER: Final = 0.2


def due_again(interval: str) -> str:
    """Return SQL for the next due time: after 80 to 100 % of ``interval``, so that what began together does not stay so.

    Args:
        interval: SQL, such as the number of an argument.
    """
    return f"now() + {interval}::interval * (1 - {_JITTER} * random())"
