"""Logs: one JSON object per line on standard error, with an event name and ids, without secrets and payloads.

Loggers of the standard library (uvicorn, gunicorn) are formatted in the same way. SIGUSR1 toggles ``debug``.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import msgspec
import structlog

from cell_monitor_core.settings import CoreSettings

__all__ = ["configure_logging", "log_level", "set_log_level"]

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_METHODS: Final = {**_LEVELS, "warn": logging.WARNING, "exception": logging.ERROR, "critical": logging.CRITICAL}
_SECRET_KEYS: Final = re.compile(
    r"passw|secret|token|authorization|cookie|api_?key|private|credential|encryption_key|index_key|signing_key",
    re.IGNORECASE,
)
_PAYLOAD_KEYS: Final = frozenset(
    {"body", "code", "outputs", "payload", "raw", "text", "traceback_text", "username", "display_name", "email"}
)
_TOKEN: Final = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")
_URL_CREDENTIALS: Final = re.compile(r"://[^/@\s]+@")
_MAX_TEXT: Final = 4000
# Libraries whose "info" has the detail of our "debug".
_CHATTY: Final = ("aiohttp", "asyncio", "httpcore", "httpx", "influxdb_client", "opentelemetry", "urllib3")
_SERVERS: Final = (
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "uvicorn.asgi",
    "gunicorn",
    "gunicorn.error",
    "gunicorn.access",
)

EventDict = MutableMapping[str, Any]


class _State:
    """The current level. It is kept here because loggers are cached."""

    level = logging.INFO
    configured = logging.INFO
    lock = threading.Lock()


def log_level() -> str:
    """Return the name of the current level."""
    return next(name for name, level in _LEVELS.items() if level == _State.level)


def set_log_level(name: str) -> None:
    """Change the level at run time: ``debug``, ``info``, ``warning`` or ``error``."""
    _State.level = _LEVELS[name]
    logging.getLogger().setLevel(_State.level)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(_State.level, logging.WARNING) if name != "debug" else logging.INFO)


def _filter_level(_logger: Any, method: str, event_dict: EventDict) -> EventDict:
    if _METHODS.get(method, logging.INFO) < _State.level:
        raise structlog.DropEvent
    return event_dict


def _scrub_text(text: str) -> str:
    if len(text) > _MAX_TEXT:
        text = f"{text[:_MAX_TEXT]}… ({len(text)} characters)"
    if "eyJ" in text:
        text = _TOKEN.sub("[token]", text)
    return _URL_CREDENTIALS.sub("://[credentials]@", text) if "://" in text else text


def _scrub_value(key: str, value: Any) -> Any:
    if _SECRET_KEYS.search(key) or key in _PAYLOAD_KEYS:
        return "[left out]"
    if isinstance(value, str):
        return _scrub_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    if isinstance(value, dict):
        return {str(name): _scrub_value(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrub_value(key, inner) for inner in list(value)[:50]]
    return value


def scrub(_logger: Any, _method: str, event_dict: EventDict) -> EventDict:
    """Replace secrets and payloads in a log entry; called for every entry."""
    for key, value in event_dict.items():
        event_dict[key] = _scrub_value(key, value)
    return event_dict


def _dump(event_dict: EventDict, **_: Any) -> str:
    return msgspec.json.encode(event_dict, enc_hook=str).decode()


def configure_logging(settings: CoreSettings, service: str, *, stream: TextIO | None = None) -> None:
    """Send all logs of the process to standard error in the configured format. A second call replaces the first.

    Args:
        settings: level, format and the instance's name.
        service: ``api``, ``worker`` or ``gateway``; written into every line.
        stream: used instead of standard error.
    """

    def add_service(_logger: Any, _method: str, event_dict: EventDict) -> EventDict:
        event_dict.setdefault("service", service)
        event_dict.setdefault("instance", settings.instance)
        return event_dict

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        add_service,
    ]
    tail: list[Any]
    if settings.log_format == "json":
        # Tracebacks without local variables, which contain what students wrote.
        tail = [structlog.processors.format_exc_info, scrub, structlog.processors.JSONRenderer(serializer=_dump)]
    else:
        tail = [scrub, structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]

    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    for name in _SERVERS:
        server = logging.getLogger(name)
        server.handlers[:] = []
        server.propagate = True
        server.setLevel(logging.NOTSET)
    structlog.configure(
        processors=[_filter_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(capture=True)
    _State.configured = _LEVELS[settings.log_level]
    set_log_level(settings.log_level)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, _toggle_debug)


def _toggle_debug(_number: int, _frame: Any) -> None:
    level = _State.configured if _State.level == logging.DEBUG else logging.DEBUG
    if level == _State.level:
        level = logging.INFO
    set_log_level(logging.getLevelName(level).lower())
    # This handler may have interrupted a log call that holds the lock, so another thread writes the entry.
    threading.Thread(target=_log_level_change, name="log-level", daemon=True).start()


def _log_level_change() -> None:
    structlog.get_logger(__name__).warning("log_level_changed", to=log_level())
