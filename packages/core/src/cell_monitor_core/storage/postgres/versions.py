"""The first version of a state.

Redis keeps the version of each row's last publication for days. A row that is deleted and created again must begin with
a higher version, or its first publications would be suppressed as old ones. The version of a row therefore begins with
the time of its creation in milliseconds since 1970 and grows by one with each change: a previous row can have a higher
one only if it changed more than a thousand times a second on average. Numbers in Redis and JavaScript are exact up to
2^53.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FIRST_VERSION"]

FIRST_VERSION: Final = "(extract(epoch FROM now()) * 1000)::bigint"
"""SQL for a new row's version; the same throughout one transaction."""
