"""gunicorn's worker: uvicorn with the C event loop and the C parser, and without a log line for each request."""

from __future__ import annotations

from typing import Any, ClassVar

from uvicorn_worker import UvicornWorker

from cell_monitor_api.http_protocol import ApiProtocol

__all__ = ["ApiWorker"]


class ApiWorker(UvicornWorker):  # type: ignore[misc]  # the package is not typed
    """``uvicorn-worker`` with this service's choices (docs/adr: the parser alone is a factor of three)."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "http": ApiProtocol,
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        # Behind the fast path of ingest, where they matter (main.create_app).
        "proxy_headers": False,
        "server_header": False,
        "timeout_graceful_shutdown": 20,
    }
