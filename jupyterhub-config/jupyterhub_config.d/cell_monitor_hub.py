"""JupyterHub's side of Cell Monitor: each student's server gets what proves whose events it sends.

In ``jupyterhub_config.py``, with this file beside it or in a folder that Python imports from::

    from cell_monitor_hub import configure

    configure(c, api_url="http://cell-monitor-api:8900")

With ``public_url``, the dashboard's address, and ``service_token`` people sign in to the dashboard with the Hub as well.

When a server starts, the Hub makes a token whose only scope is ``custom:cell-monitor:send`` and puts it into the server's
environment; it ends with the server. The server's own token carries the scope as well, for servers that outlive the
first one. Tokens that other servers or services get in a person's name never carry it. Needs JupyterHub 5 or 6.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

__all__ = ["SCOPE", "SERVICE", "TOKEN_VARIABLE", "configure"]

SCOPE: Final = "custom:cell-monitor:send"
"""What a token may do with Cell Monitor: send the events of its own user."""
TOKEN_VARIABLE: Final = "CELL_MONITOR_HUB_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable in which a server finds its token."""
SERVICE: Final = "cell-monitor"
"""Name of the dashboard among the Hub's services."""

_CALLBACK_PATH: Final = "/api/v1/auth/hub/callback"
_READ_GROUPS: Final = ("list:groups", "read:groups")
"""For the roster: who is in which group, and the groups' properties; nothing else of a user."""
_USE_SERVICE: Final = f"access:services!service={SERVICE}"
_MIN_TOKEN_CHARS: Final = 32
_DAY_S: Final = 86_400
_DEFAULT_SCOPES: Final = {"user": ["self"], "server": ["users:activity!user", "access:servers!server"]}
"""What JupyterHub gives these two roles; a role that is configured replaces it."""


def configure(
    c: Any, *, api_url: str, course: str = "", token_days: int = 30, public_url: str = "", service_token: str = ""
) -> None:
    """Configure the Hub; hooks and roles that were configured before stay.

    Args:
        c: the configuration object of ``jupyterhub_config.py``.
        api_url: where students' servers reach Cell Monitor's API.
        course: of notebooks that name none; empty lets Cell Monitor decide by its roster.
        token_days: life of a server's token in days; at least as long as the Hub lets a server run.
        public_url: where browsers reach the dashboard; with it everybody may sign in there with the Hub, and sees the
            courses of their groups. Without it the Hub signs nobody in.
        service_token: the service's token, at least 32 random characters, which the API has as
            ``CELL_MONITOR_API_HUB_TOKEN``; may be left out where ``c.JupyterHub.services`` has one for ``cell-monitor``.

    Raises:
        ValueError: an argument is unusable.
    """
    if public_url and not public_url.startswith(("http://", "https://")):
        raise ValueError(f"public_url must begin with http:// or https://, not {public_url[:40]!r}")
    if not api_url.startswith(("http://", "https://")):
        raise ValueError(f"api_url must begin with http:// or https://, not {api_url[:40]!r}")
    if token_days < 1:
        raise ValueError(f"token_days must be at least 1, not {token_days}")
    scopes = _configured(c.JupyterHub, "custom_scopes", {})
    c.JupyterHub.custom_scopes = scopes | {SCOPE: {"description": "Send one's own events to Cell Monitor"}}
    roles = [dict(role) for role in _configured(c.JupyterHub, "load_roles", [])]
    for name, default in _DEFAULT_SCOPES.items():
        _add_scope(roles, name, default, SCOPE)
    if public_url:
        _add_service(c, public_url, service_token)
        _add_scope(roles, "user", _DEFAULT_SCOPES["user"], _USE_SERVICE)
        roles.append({"name": SERVICE, "services": [SERVICE], "scopes": list(_READ_GROUPS)})
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


def _add_scope(roles: list[dict[str, Any]], name: str, default: list[str], scope: str) -> None:
    role = next((role for role in roles if role.get("name") == name), None)
    if role is None:
        roles.append({"name": name, "scopes": [*default, scope]})
    elif scope not in role.get("scopes", default):
        role["scopes"] = [*role.get("scopes", default), scope]


def _add_service(c: Any, public_url: str, token: str) -> None:
    """Add the dashboard to the Hub's services, or complete the one that is configured."""
    services = [dict(service) for service in _configured(c.JupyterHub, "services", [])]
    service = next((service for service in services if service.get("name") == SERVICE), None)
    if service is None:
        service = {"name": SERVICE}
        services.append(service)
    if token:
        service["api_token"] = token
    if len(service.get("api_token", "")) < _MIN_TOKEN_CHARS:
        raise ValueError(f"the service {SERVICE} needs service_token, at least {_MIN_TOKEN_CHARS} random characters")
    # No ``url``: the Hub's proxy would serve the dashboard on the origin of each student's pages.
    service |= {
        "oauth_client_id": f"service-{SERVICE}",
        "oauth_redirect_uri": public_url.rstrip("/") + _CALLBACK_PATH,
        "oauth_no_confirm": True,
    }
    c.JupyterHub.services = services


def _note(spawner: Any) -> str:
    return f"Cell Monitor, server {spawner.name!r}"


def _end_tokens(spawner: Any) -> None:
    """Revoke the tokens of this server, also those that were made before the Hub was started again."""
    note = _note(spawner)
    for token in list(spawner.user.orm_user.api_tokens):
        if token.note == note:
            spawner.user.db.delete(token)
    spawner.user.db.commit()


async def _call(hook: Callable[[Any], Awaitable[None] | None] | None, spawner: Any) -> None:
    done = hook(spawner) if hook is not None else None
    if inspect.isawaitable(done):
        await done
