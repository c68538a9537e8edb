"""Hazard: configuring the Hub for Cell Monitor loses what a site configured before, or gives servers more rights."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from traitlets.config import Config, PyFileConfigLoader

_FILE = Path(__file__).parents[1] / "jupyterhub_config.d/cell_monitor_hub.py"
_SPEC = importlib.util.spec_from_file_location("cell_monitor_hub", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
hub = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(hub)

URL = "http://api:8900"
_GUIDE = Path(__file__).parents[2] / "docs/operations/jupyterhub.md"


def roles_of(c: Config) -> dict[str, set[str]]:
    return {role["name"]: set(role["scopes"]) for role in c.JupyterHub.load_roles}


def test_a_hub_without_roles_keeps_what_its_users_and_servers_may_do_anyway() -> None:
    c = Config()
    hub.configure(c, api_url=URL)
    assert roles_of(c) == {
        "user": {"self", hub.SCOPE},
        "server": {"users:activity!user", "access:servers!server", hub.SCOPE},
    }
    assert set(c.JupyterHub.custom_scopes) == {hub.SCOPE}


def test_the_documented_lines_find_the_module_wherever_the_hub_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = re.search(r"```python\n(.*?)```", _GUIDE.read_text("utf-8"), re.DOTALL)
    assert lines is not None
    (tmp_path / "cell_monitor_hub.py").write_bytes(_FILE.read_bytes())
    (tmp_path / "jupyterhub_config.py").write_text(f"c = get_config()\n{lines[1]}", encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    c = PyFileConfigLoader("jupyterhub_config.py", path=str(tmp_path)).load_config()
    assert hub.SCOPE in roles_of(c)["user"]


def test_roles_and_scopes_of_the_site_stay() -> None:
    c = Config()
    c.JupyterHub.load_roles = [{"name": "user", "scopes": ["self", "shares!user"]}, {"name": "culler", "scopes": ["x"]}]
    c.JupyterHub.custom_scopes = {"custom:other": {"description": "d"}}
    hub.configure(c, api_url=URL)
    hub.configure(c, api_url=URL)
    assert roles_of(c)["user"] == {"self", "shares!user", hub.SCOPE}
    assert roles_of(c)["culler"] == {"x"}
    assert len(c.JupyterHub.load_roles) == 3
    assert set(c.JupyterHub.custom_scopes) == {"custom:other", hub.SCOPE}


def test_roles_that_were_appended_to_the_default_stay() -> None:
    c = Config()
    c.JupyterHub.load_roles.append({"name": "culler", "scopes": ["x"]})
    hub.configure(c, api_url=URL)
    assert set(roles_of(c)) == {"culler", "user", "server"}


class User:
    """A user of the Hub with the tokens made so far."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        tokens = [SimpleNamespace(note="mine"), SimpleNamespace(note="Cell Monitor")]
        self.orm_user = SimpleNamespace(api_tokens=tokens)
        self.db = SimpleNamespace(delete=tokens.remove, commit=lambda: None)

    def new_api_token(self, *, note: str, scopes: list[str], expires_in: int) -> str:
        self.orm_user.api_tokens.append(SimpleNamespace(note=note, scopes=scopes, expires_in=expires_in))
        return f"token-{next(self._numbers)}"


def spawner_of(user: User, name: str) -> Any:
    return SimpleNamespace(user=user, name=name, environment={"LANG": "C"}, called=[])


def test_each_server_gets_a_token_of_its_own_that_ends_with_it_and_the_site_s_hooks_run() -> None:
    c = Config()

    async def before(spawner: Any) -> None:
        spawner.called.append("start")

    c.Spawner.pre_spawn_hook = before
    c.Spawner.post_stop_hook = lambda spawner: spawner.called.append("stop")
    hub.configure(c, api_url=URL, course="physics", token_days=2)
    user = User()
    first, second = spawner_of(user, ""), spawner_of(user, "lab 2")
    for spawner in (first, second, first):
        asyncio.run(c.Spawner.pre_spawn_hook(spawner))
    made = [token for token in user.orm_user.api_tokens if hasattr(token, "scopes")]
    assert [(token.scopes, token.expires_in) for token in made] == [([hub.SCOPE], 172_800)] * 2
    assert first.environment[hub.TOKEN_VARIABLE] != second.environment[hub.TOKEN_VARIABLE]
    assert first.environment["CELL_MONITOR_API_URL"] == URL
    assert (first.environment["LANG"], first.environment["CELL_MONITOR_COURSE"]) == ("C", "physics")
    asyncio.run(c.Spawner.post_stop_hook(first))
    left = [token.note for token in user.orm_user.api_tokens]
    assert left == ["mine", "Cell Monitor", "Cell Monitor, server 'lab 2'"]
    assert first.called == ["start", "start", "stop"]


@pytest.mark.parametrize(("url", "days"), [("api:8900", 30), ("", 30), (URL, 0)])
def test_an_argument_that_cannot_work_is_said_at_the_hub_s_start(url: str, days: int) -> None:
    with pytest.raises(ValueError, match="must"):
        hub.configure(Config(), api_url=url, token_days=days)


DASHBOARD = "https://monitor.example.org"
TOKEN = "t" * 32


def test_a_dashboard_is_added_to_the_services_of_the_site_and_every_user_may_sign_in() -> None:
    c = Config()
    c.JupyterHub.services = [{"name": "idle-culler", "api_token": "c" * 32}]
    hub.configure(c, api_url=URL, public_url=f"{DASHBOARD}/", service_token=TOKEN)
    assert c.JupyterHub.services[0] == {"name": "idle-culler", "api_token": "c" * 32}
    assert c.JupyterHub.services[1] == {
        "name": "cell-monitor",
        "api_token": TOKEN,
        "oauth_client_id": "service-cell-monitor",
        "oauth_redirect_uri": "https://monitor.example.org/api/v1/auth/hub/callback",
        "oauth_no_confirm": True,
    }
    assert roles_of(c)["user"] == {"self", hub.SCOPE, "access:services!service=cell-monitor"}
    # The dashboard reads who is in which group, and nothing else.
    assert roles_of(c)["cell-monitor"] == {"list:groups", "read:groups"}
    assert next(role for role in c.JupyterHub.load_roles if role["name"] == "cell-monitor")["services"] == [
        "cell-monitor"
    ]
    # A server's token never gets what opens the dashboard.
    assert roles_of(c)["server"] == {"users:activity!user", "access:servers!server", hub.SCOPE}


def test_a_service_that_the_chart_of_the_hub_has_made_keeps_its_token() -> None:
    c = Config()
    c.JupyterHub.services = [{"name": "cell-monitor", "api_token": TOKEN, "display": False}]
    hub.configure(c, api_url=URL, public_url=DASHBOARD)
    (service,) = c.JupyterHub.services
    assert (service["api_token"], service["display"]) == (TOKEN, False)
    assert service["oauth_client_id"] == "service-cell-monitor"


def test_without_a_dashboard_nothing_of_the_hub_signs_people_in() -> None:
    c = Config()
    hub.configure(c, api_url=URL)
    assert "services" not in c.JupyterHub
    assert "access:services!service=cell-monitor" not in roles_of(c)["user"]


@pytest.mark.parametrize(
    ("public_url", "token", "named"),
    [
        ("monitor.example.org", TOKEN, "public_url"),
        (DASHBOARD, "", "service_token"),
        (DASHBOARD, "short", "service_token"),
    ],
)
def test_a_dashboard_without_address_or_secret_is_said_at_the_hub_s_start(
    public_url: str, token: str, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        hub.configure(Config(), api_url=URL, public_url=public_url, service_token=token)
