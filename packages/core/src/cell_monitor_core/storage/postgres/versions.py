"""Where versions of states begin.

Redis remembers for days which version of a row it published last. A row that is deleted and made anew, with its course
or by hand, must outgrow what it was, or its first publications would be taken for old ones. So a row begins with the
time at which it is made, in milliseconds since 1970, and then grows by one with each change: the row before it can only
have come further by changing more than a thousand times a second all its life. Redis' and JavaScript's numbers are exact
up to 2^53.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FIRST_VERSION"]

FIRST_VERSION: Final = "(extract(epoch FROM now()) * 1000)::bigint"
"""SQL for a new row's version; the same throughout one transaction."""
