"""JupyterHub's side of Cell Monitor: each student's server gets what proves whose events it sends.

In ``jupyterhub_config.py``, with this file beside it or in a folder that Python imports from::

    from cell_monitor_hub import configure

    configure(c, api_url="http://cell-monitor-api:8900")

When a server starts, the Hub makes a token whose only scope is ``custom:cell-monitor:send`` and puts it into the server's
environment; it ends with the server. The server's own token carries the scope as well, for servers that outlive the
first one. Tokens that other servers or services get in a person's name never carry it. Needs JupyterHub 5 or 6.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

__all__ = ["SCOPE", "TOKEN_VARIABLE", "configure"]

SCOPE: Final = "custom:cell-monitor:send"
"""What a token may do with Cell Monitor: send the events of its own user."""
TOKEN_VARIABLE: Final = "CELL_MONITOR_HUB_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable in which a server finds its token."""

_DAY_S: Final = 86_400
_DEFAULT_SCOPES: Final = {"user": ["self"], "server": ["users:activity!user", "access:servers!server"]}
"""What JupyterHub gives these two roles; a role that is configured replaces it."""


def configure(c: Any, *, api_url: str, course: str = "", token_days: int = 30) -> None:
    """Configure the Hub; hooks and roles that were configured before stay.

    Args:
        c: the configuration object of ``jupyterhub_config.py``.
        api_url: where students' servers reach Cell Monitor's API.
        course: of notebooks that name none; empty lets Cell Monitor decide by its roster.
        token_days: life of a server's token in days; at least as long as the Hub lets a server run.

    Raises:
        ValueError: an argument is unusable.
    """
    if not api_url.startswith(("http://", "https://")):
        raise ValueError(f"api_url must begin with http:// or https://, not {api_url[:40]!r}")
    if token_days < 1:
        raise ValueError(f"token_days must be at least 1, not {token_days}")
    scopes = _configured(c.JupyterHub, "custom_scopes", {})
    c.JupyterHub.custom_scopes = scopes | {SCOPE: {"description": "Send one's own events to Cell Monitor"}}
    roles = [dict(role) for role in _configured(c.JupyterHub, "load_roles", [])]
    for name, default in _DEFAULT_SCOPES.items():
        _add_scope(roles, name, default)
    c.JupyterHub.load_roles = roles
    environment = {"CELL_MONITOR_API_URL": api_url} | ({"CELL_MONITOR_COURSE": course} if course else {})
    before_start = _configured(c.Spawner, "pre_spawn_hook", None)
    after_stop = _configured(c.Spawner, "post_stop_hook", None)

    async def give_token(spawner: Any) -> None:
        await _call(before_start, spawner)
        _end_tokens(spawner)
        token = spawner.user.new_api_token(note=_note(spawner), scopes=[SCOPE], expires_in=token_days * _DAY_S)
        # A copy: the configured value is the same for all servers.
        spawner.environment = dict(spawner.environment) | environment | {TOKEN_VARIABLE: token}

    async def end_token(spawner: Any) -> None:
        _end_tokens(spawner)
        await _call(after_stop, spawner)

    c.Spawner.pre_spawn_hook = give_token
    c.Spawner.post_stop_hook = end_token


def _configured(section: Any, name: str, default: Any) -> Any:
    """Return what was configured, or the default; `append` and the like on an option without a value count as well."""
    value = section.get(name, default)
    return value.get_value(default) if hasattr(value, "get_value") else value


def _add_scope(roles: list[dict[str, Any]], name: str, default: list[str]) -> None:
    role = next((role for role in roles if role.get("name") == name), None)
    if role is None:
        roles.append({"name": name, "scopes": [*default, SCOPE]})
    elif SCOPE not in role.get("scopes", default):
        role["scopes"] = [*role.get("scopes", default), SCOPE]


def _note(spawner: Any) -> str:
    return f"Cell Monitor, server {spawner.name!r}"


def _end_tokens(spawner: Any) -> None:
    """Revoke the tokens of this server, also those that were made before the Hub was started again."""
    note = _note(spawner)
    for token in list(spawner.user.orm_user.api_tokens):
        if token.note == note:
            spawner.db.delete(token)
    spawner.db.commit()


async def _call(hook: Callable[[Any], Awaitable[None] | None] | None, spawner: Any) -> None:
    done = hook(spawner) if hook is not None else None
    if inspect.isawaitable(done):
        await done
