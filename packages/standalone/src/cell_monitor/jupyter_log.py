"""What JupyterLab writes into its log, without tokens.

Jupyter Server removes them from its own line for each request. Tornado's lines for errors have the whole address.
"""

from __future__ import annotations

import logging
import re
from typing import Any, Final

__all__ = ["LOGGING_CONFIG", "TokenFilter"]

_TOKEN: Final = re.compile(r"""([?&][^=&#\s]*token=)[^&#\s"'<>]+""", re.IGNORECASE)


class TokenFilter(logging.Filter):
    """Replaces the tokens in the addresses of an entry; keeps all entries."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the text of an entry that has an address with a token."""
        said = record.getMessage()
        without = _TOKEN.sub(r"\1[secret]", said)
        if without != said:
            record.msg, record.args = without, None
        return True


LOGGING_CONFIG: Final[dict[str, Any]] = {
    "filters": {"token": {"()": f"{__name__}.{TokenFilter.__name__}"}},
    "handlers": {"console": {"filters": ["token"]}},
}
"""For ``Application.logging_config``: Jupyter Server and each extension merge it with their own."""
