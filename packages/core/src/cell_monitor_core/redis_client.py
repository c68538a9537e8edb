"""Connections to Redis or Valkey, single or Cluster, with defaults that suit writes that must not happen twice.

redis-py 8 by itself retries a command ten times after a time-out of five seconds. For a blocking read that abandons
entries, for a write it may write twice. Here a command runs once and its error is the caller's to judge; only answers
that prove that nothing ran (``NOSCRIPT``, ``MOVED``, ``ASK``) are followed.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, TypeAlias, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, NoScriptError, RedisClusterException, RedisError, ResponseError

__all__ = [
    "BLOCK_LIMIT_SECONDS",
    "COMMAND_TIMEOUT_SECONDS",
    "CONNECT_TIMEOUT_SECONDS",
    "REDIS_ERRORS",
    "RedisClient",
    "Script",
    "aclose",
    "connect",
    "reason_of",
    "run_command",
    "run_script",
]

RedisClient: TypeAlias = "Redis | RedisCluster"

CONNECT_TIMEOUT_SECONDS: Final = 2.0
COMMAND_TIMEOUT_SECONDS: Final = 5.0
BLOCK_LIMIT_SECONDS: Final = 20.0
"""The longest ``BLOCK`` that a blocking client waits through; its sockets time out later than this."""
_BLOCKING_TIMEOUT_SECONDS: Final = BLOCK_LIMIT_SECONDS + 10.0
_HEALTH_CHECK_SECONDS: Final = 30
_MAX_CONNECTIONS: Final = 200

REDIS_ERRORS: Final = (RedisError, RedisClusterException, OSError, TimeoutError)
"""All that redis-py raises when Redis is unavailable, refuses or answers too late, or when no node or no master of a shard
is known, which are no ``RedisError``."""


class _ClosedUnderneath:
    """Turns what a connection raises when another task closes it in the middle of a command into a ``ConnectionError``.

    redis-py's Cluster client closes the connections of a node that left while other tasks work on them, which then find
    no stream any more: ``AttributeError``, or ``RuntimeError`` from uvloop.
    """

    async def send_packed_command(self, *arguments: Any, **options: Any) -> None:
        try:
            await super().send_packed_command(*arguments, **options)  # type: ignore[misc]
        except (AttributeError, RuntimeError) as error:
            raise _closed(error) from error

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*arguments, **options)  # type: ignore[misc]
        except (AttributeError, RuntimeError) as error:
            raise _closed(error) from error


def _closed(error: Exception) -> Exception:
    message = str(error)
    if "'NoneType' object has no attribute" in message or "handler is closed" in message:
        return RedisConnectionError("the connection was closed during a command")
    return error


class _Connection(_ClosedUnderneath, Connection):
    pass


class _TlsConnection(_ClosedUnderneath, SSLConnection):
    pass


class Script:
    """A Lua script and the SHA-1 that Redis knows it by."""

    __slots__ = ("sha", "sha_bytes", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        # Not for security: it is the name that EVALSHA asks for.
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        self.sha_bytes = self.sha.encode()


def connect(url: str, *, name: str, blocking: bool = False) -> RedisClient:
    """Return a client that connects at its first command; replies are bytes.

    Args:
        url: ``redis://[user:password@]host:port[/db]``, ``rediss://`` for TLS, or
            ``redis+cluster://[user:password@]host:port,host:port`` (``rediss+cluster://``) for a Cluster.
        name: shown in ``CLIENT LIST``.
        blocking: for ``XREADGROUP BLOCK`` and alike, up to ``BLOCK_LIMIT_SECONDS``.

    Raises:
        ValueError: the URL is of none of these forms; the message does not repeat it, since it may hold a password.
    """
    options: dict[str, Any] = {
        # RESP2: one shape of replies in scripts and commands, and no CLIENT MAINT_NOTIFICATIONS at each connection.
        "protocol": 2,
        "client_name": _client_name(name),
        # No CLIENT SETINFO: Redis 7.0 does not know it, and has no right of that name that could be given.
        "driver_info": None,
        "decode_responses": False,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": _BLOCKING_TIMEOUT_SECONDS if blocking else COMMAND_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": _HEALTH_CHECK_SECONDS,
        "max_connections": _MAX_CONNECTIONS,
        "retry": Retry(NoBackoff(), 0),
    }
    scheme = url.partition("://")[0]
    if scheme in {"redis", "rediss"}:
        return Redis.from_url(url, **options)
    if scheme in {"redis+cluster", "rediss+cluster"}:
        return _connect_cluster(url, options)
    raise ValueError("a Redis URL starts with redis://, rediss://, redis+cluster:// or rediss+cluster://")


def _client_name(name: str) -> str:
    """CLIENT SETNAME takes no spaces or control characters."""
    return "".join(character if "!" <= character <= "~" else "-" for character in name)[:64] or "cell-monitor"


def _connect_cluster(url: str, options: dict[str, Any]) -> RedisCluster:
    scheme, _, rest = url.partition("://")
    userinfo, at, hosts = rest.partition("/")[0].rpartition("@")
    nodes = []
    for host in filter(None, hosts.split(",")):
        parts = urlsplit(f"//{host}")
        if not parts.hostname:
            raise ValueError("a Redis Cluster URL names its nodes as host:port,host:port")
        nodes.append(ClusterNode(parts.hostname, parts.port or 6379))
    if not nodes:
        raise ValueError("a Redis Cluster URL names at least one node as host:port")
    if at:
        username, _, password = userinfo.partition(":")
        options["username"] = unquote(username) or None
        options["password"] = unquote(password) or None
    client = RedisCluster(
        startup_nodes=nodes,
        ssl=scheme == "rediss+cluster",
        # One lost shard must not take the others with it.
        require_full_coverage=False,
        **options,
    )
    # The client takes no class of connections; every node that it finds is made with these options.
    connection_class = _TlsConnection if scheme == "rediss+cluster" else _Connection
    client.nodes_manager.connection_kwargs["connection_class"] = connection_class
    for node in client.nodes_manager.startup_nodes.values():
        node.connection_class = connection_class
    return client


def reason_of(error: BaseException) -> str:
    """Return what an error was, for logs: its class, and where a right is missing Redis' own sentence, which names it."""
    # Of a script Redis 7.0 says "The user executing the script can't …", later ones say "ACL failure in script".
    in_script = isinstance(error, ResponseError) and ("ACL failure" in str(error) or "user executing" in str(error))
    missing = in_script or isinstance(error, NoPermissionError)
    return f"{type(error).__name__}: {error}"[:300] if missing else type(error).__name__


async def aclose(client: RedisClient) -> None:
    """Close all connections of a client."""
    await client.aclose()


async def run_command(client: RedisClient, key: str, *arguments: Any) -> Any:
    """Run one command on the node that holds ``key``.

    Spares the Cluster client a COMMAND GETKEYS round trip for commands whose keys it cannot find by itself.
    """
    if isinstance(client, RedisCluster):
        await client.initialize()
        return await client.execute_command(*arguments, target_nodes=client.get_node_from_key(key))
    return await client.execute_command(*arguments)  # type: ignore[no-untyped-call]


async def run_script(client: RedisClient, script: Script, keys: list[str], arguments: list[Any]) -> Any:
    """Run a script on the node that holds ``keys``, loading it where it is not known yet."""
    try:
        return await client.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments)
    except NoScriptError:
        # Nothing ran; EVAL also loads the script.
        return cast("Any", await client.execute_command("EVAL", script.source, len(keys), *keys, *arguments))
