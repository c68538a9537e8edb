"""The addresses of PostgreSQL and Redis, parsed once: every mistake is named at the start, and no part of a secret with it.

A password is written as in any URL (RFC 3986): ``@``, ``/``, ``?``, ``#`` and ``%`` as ``%40``, ``%2F``, ``%3F``, ``%23``
and ``%25``. PostgreSQL's own clients take options that asyncpg does not: those are honoured here, or refused by name.
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

__all__ = ["PostgresUrl", "check_http_url", "check_redis_url", "parse_postgres_url"]

_REDIS: Final = ("redis", "rediss", "redis+cluster", "rediss+cluster")
_POSTGRES: Final = ("postgresql", "postgres")
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_QUOTED: Final = {"@": "%40", "/": "%2F", "?": "%3F", "#": "%23", "%": "%25"}
_MAX_PORT: Final = 65535
# libpq's options that ask for what happens anyway: no encryption by GSSAPI, no channel binding, server names in TLS.
_MEANS_NOTHING: Final = {
    "channel_binding": {"disable", "prefer"},
    "gssencmode": {"disable", "prefer"},
    "pgbouncer": {"false"},
    "sslsni": {"1"},
}
# What asyncpg would find out at the first connection only.
_CHOICES: Final = {
    "sslmode": {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"},
    "target_session_attrs": {"any", "primary", "standby", "read-write", "read-only", "prefer-standby"},
}
_FILES: Final = frozenset({"passfile", "sslcert", "sslcrl", "sslkey"})
_UNSUPPORTED: Final = frozenset(
    {
        "channel_binding", "client_encoding", "connection_limit", "fallback_application_name", "gssencmode", "hostaddr",
        "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "load_balance_hosts", "pgbouncer",
        "pool_mode", "pool_timeout", "replication", "require_auth", "requirepeer", "requiressl", "schema", "sslcertmode",
        "sslcompression", "sslcrldir", "sslsni", "tcp_user_timeout",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, repr=False)
class PostgresUrl:
    """A PostgreSQL URL as asyncpg takes it.

    Attributes:
        dsn: without the options that are honoured here.
        connect_timeout: seconds for a connection (``connect_timeout``); None where the URL does not say it.
        prepares: whether statements may be prepared under a name; not with ``pgbouncer=true``.
    """

    dsn: str
    connect_timeout: float | None = None
    prepares: bool = True


def _authority(url: str, schemes: tuple[str, ...]) -> tuple[str, str]:
    """Return what is between ``//`` and the path, and what follows.

    Raises:
        ValueError: it is no such URL.
    """
    scheme, found, rest = url.partition("://")
    if not found or scheme not in schemes:
        raise ValueError(f"must begin with {', '.join(f'{name}://' for name in schemes[:-1])} or {schemes[-1]}://")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("contains a space or a control character")
    if "#" in rest:
        raise _unquoted("#")
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    after = rest.removeprefix(authority)
    path = after.partition("?")[0] if after.startswith("/") else after
    if "@" in path:
        raise _unquoted(after[0])
    if authority.count("@") > 1:
        raise _unquoted("@")
    if _PERCENT.search(rest):
        raise _unquoted("%")
    return authority, after


def _unquoted(character: str) -> ValueError:
    return ValueError(f'has "{character}" in the user or password: write it there as {_QUOTED[character]}')


def _check_hosts(authority: str, *, needed: bool) -> None:
    """Check ``user:password@host:port,host:port``.

    Raises:
        ValueError: no host is named, or a port is none.
    """
    hosts = authority.rpartition("@")[2]
    for one in hosts.split(","):
        host, _, port = one.rpartition(":") if re.search(r":[^\]]*$", one) else (one, "", "")
        if port and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= _MAX_PORT):
            raise ValueError("has a port that is no number from 1 to 65535")
        if not host and (needed or hosts):
            raise ValueError("names no host")


def check_http_url(url: str) -> None:
    """Check the URL of a service that speaks HTTP.

    Raises:
        ValueError: it has a mistake, which the message names without repeating any of it.
    """
    authority, _ = _authority(url, ("http", "https"))
    if "," in authority:
        raise ValueError("names more than one host")
    _check_hosts(authority, needed=True)


def check_redis_url(url: str) -> None:
    """Check a Redis URL.

    Raises:
        ValueError: it has a mistake, which the message names without repeating any of it.
    """
    authority, after = _authority(url, _REDIS)
    _check_hosts(authority, needed=True)
    database = after.partition("?")[0].strip("/")
    if database and not (database.isascii() and database.isdigit()):
        raise ValueError("ends with a database that is no number")


def parse_postgres_url(url: str) -> PostgresUrl:
    """Parse a PostgreSQL URL.

    Raises:
        ValueError: it has a mistake, or an option that is not supported; the message names it without any secret.
    """
    authority, after = _authority(url, _POSTGRES)
    path, _, query = after.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    _check_hosts(authority, needed="host" not in options and "service" not in options)
    connect_timeout: float | None = None
    prepares = True
    kept: dict[str, str] = {}
    for name, value in options.items():
        if name == "connect_timeout":
            if not (value.isascii() and value.isdigit() and len(value) < 6):
                raise ValueError("has a connect_timeout that is no number of seconds")
            # As libpq: 0 is no limit of its own, and nothing below two seconds is tried.
            connect_timeout = float(max(int(value), 2)) if int(value) else None
        elif name == "pgbouncer" and value == "true":
            prepares = False
        elif value in _MEANS_NOTHING.get(name, ()):
            continue
        elif name in _UNSUPPORTED:
            raise ValueError(f"has the option {name}, which is not supported with this value: remove it")
        elif name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(f"has a {name} that is none of {', '.join(sorted(_CHOICES[name]))}")
        elif name in _FILES and not Path(value).is_file():
            raise ValueError(f"names a file with {name} that does not exist")
        else:
            kept[name] = value
    if kept == options:
        return PostgresUrl(url)
    scheme = url.partition("://")[0]
    rest = f"?{urlencode(kept, quote_via=quote)}" if kept else ""
    return PostgresUrl(f"{scheme}://{authority}{path}{rest}", connect_timeout, prepares)
