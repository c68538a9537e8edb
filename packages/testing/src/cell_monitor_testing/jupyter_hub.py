"""A real JupyterHub with its proxy, whose users' servers are local processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx

from cell_monitor.embedded.process import free_port

__all__ = ["PASSWORD", "SERVICE_CLIENT", "SERVICE_TOKEN", "HubProcess"]

SERVICE_CLIENT: Final = "service-cell-monitor"
"""OAuth client of the service ``cell-monitor``."""

PASSWORD: Final = "password"  # noqa: S105 - of the stand-in authenticator
"""Password of all users."""
SERVICE_TOKEN: Final = "service-" + "s" * 32
"""Token of that service, its secret as an OAuth client."""
_ADMIN_TOKEN: Final = "admin-" + "a" * 32
_START_S: Final = 60.0
_HUB_CONFIGURATION: Final = Path(__file__).parents[4] / "jupyterhub-config/jupyterhub_config.d"
_PROXY: Final = Path(__file__).parents[4] / "tests/hub/node_modules/.bin/configurable-http-proxy"

_CONFIGURATION: Final = """
import sys
sys.path.insert(0, {configuration!r})
from cell_monitor_hub import configure

c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{proxy_port}/hub-test/"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_api_port}"
c.ConfigurableHTTPProxy.command = [{proxy!r}]
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = {password!r}
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {{"boss"}}
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = {homes!r} + "/{{username}}"
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
c.Spawner.args = ["--allow-root"]
c.Spawner.environment = {{"JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp", "SHELL": "/bin/sh"}}
c.JupyterHub.allow_named_servers = True
c.JupyterHub.services = [
    {{"name": "test", "api_token": {admin_token!r}}},
]
c.JupyterHub.load_roles = [
    {{"name": "test", "services": ["test"],
      "scopes": ["admin:users", "admin:servers", "admin:groups", "tokens", "access:servers"]}},
    {{"name": "visits", "users": ["teacher"], "scopes": ["access:servers!user=tanaka"]}},
]
configure(c, api_url={api_url!r}, public_url={api_url!r}, service_token={service_token!r})
"""


class HubProcess:
    """A JupyterHub; ``start`` it before anything else.

    Args:
        python: interpreter of the installation with JupyterHub.
        folder: an existing folder for everything that the Hub and its users' servers write.
        api_url: of Cell Monitor's API, for the users' servers and as the dashboard's address.
    """

    def __init__(self, python: str, folder: Path, *, api_url: str) -> None:
        self.folder = folder
        self._python = python
        self._port = free_port()
        self._hub_port = free_port()
        self.callback = f"{api_url}/api/v1/auth/hub/callback"
        self.public_url = f"http://127.0.0.1:{self._port}/hub-test"
        self.api_url = f"http://127.0.0.1:{self._hub_port}/hub-test/hub/api"
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "jupyterhub_config.py").write_text(
            _CONFIGURATION.format(
                configuration=str(_HUB_CONFIGURATION),
                proxy_port=self._port,
                hub_port=self._hub_port,
                proxy_api_port=free_port(),
                proxy=str(_PROXY),
                password=PASSWORD,
                homes=str(folder / "homes"),
                service_token=SERVICE_TOKEN,
                admin_token=_ADMIN_TOKEN,
                api_url=api_url,
            ),
            encoding="utf-8",
        )
        self._admin = httpx.Client(
            base_url=self.api_url, headers={"Authorization": f"token {_ADMIN_TOKEN}"}, timeout=30, trust_env=False
        )

    def start(self) -> None:
        """Start the Hub and wait until it answers.

        Raises:
            AssertionError: it ended or did not answer in time; the message is its log.
        """
        assert _PROXY.exists(), "run `make test-hosts`, which installs the Hub's proxy"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CELL_MONITOR_")}
        path = f"{Path(self._python).parent}{os.pathsep}{os.environ['PATH']}"
        with (self.folder / "hub.log").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603
                [self._python, "-m", "jupyterhub", "-f", "jupyterhub_config.py"],
                cwd=self.folder,
                env=inherited | {"PATH": path},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait(lambda: self._answers() or self._process is None or self._process.poll() is not None)
        assert self._answers(), (self.folder / "hub.log").read_text("utf-8", "replace")[-4000:]

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.public_url}/hub/api/", trust_env=False).status_code == httpx.codes.OK
        return False

    @property
    def version(self) -> tuple[int, ...]:
        """Major and minor version, as the Hub says."""
        answer = httpx.get(f"{self.public_url}/hub/api/", trust_env=False)
        return tuple(int(part) for part in answer.json()["version"].split(".")[:2])

    def stop(self) -> None:
        """Stop the Hub with its proxy and all users' servers."""
        self._admin.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def put_properties(self, group: str, properties: Mapping[str, Any]) -> None:
        """Set the properties of a group."""
        self._admin.put(f"/groups/{group}/properties", json=dict(properties)).raise_for_status()

    def add_user(self, user: str) -> None:
        """Add a user, who has not signed in yet."""
        self._admin.post(f"/users/{user}")

    def remove_user(self, user: str) -> None:
        """Remove a user with all their tokens."""
        self._admin.delete(f"/users/{user}").raise_for_status()

    def sign_out(self, browser: httpx.Client) -> None:
        """Sign a browser out of the Hub."""
        browser.get(f"{self.public_url}/hub/logout").raise_for_status()

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Stop the Hub's own process for a while, so that it answers nobody."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def wait(self, condition: Callable[[], Any], seconds: float = _START_S) -> Any:
        """Wait for a condition and return its value.

        Raises:
            AssertionError: it was not met in time; the message is the end of the Hub's log.
        """
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, (self.folder / "hub.log").read_text("utf-8", "replace")[-4000:]
            time.sleep(0.1)
        return value

    def put_groups(self, groups: Mapping[str, list[str]]) -> None:
        """Make groups with exactly these users; groups that are not named go."""
        for group in self._admin.get("/groups").raise_for_status().json():
            self._admin.delete(f"/groups/{group['name']}").raise_for_status()
        for name, users in groups.items():
            self._admin.post(f"/groups/{name}").raise_for_status()
            self._admin.post(f"/groups/{name}/users", json={"users": users}).raise_for_status()

    def start_server(self, user: str, name: str = "") -> dict[str, str]:
        """Start a user's server; the user is added if need be. Return the environment of its process."""
        self._admin.post(f"/users/{user}")
        path = f"/users/{user}/servers/{name}" if name else f"/users/{user}/server"
        self._admin.post(path).raise_for_status()
        state = self.wait(lambda: self._ready(user, name))
        environ = Path(f"/proc/{state['pid']}/environ").read_bytes().split(b"\0")
        return dict(entry.decode().split("=", 1) for entry in environ if b"=" in entry)

    def _ready(self, user: str, name: str) -> dict[str, Any] | None:
        server = self._admin.get(f"/users/{user}").raise_for_status().json()["servers"].get(name)
        return server["state"] if server and server["ready"] else None

    def stop_server(self, user: str, name: str = "") -> None:
        """Stop a user's server and wait until it is gone."""
        path = f"/users/{user}/servers/{name}" if name else f"/users/{user}/server"
        self._admin.delete(path).raise_for_status()
        self.wait(lambda: name not in self._admin.get(f"/users/{user}").raise_for_status().json()["servers"])

    def post(self, user: str, token: str, path: str, body: Any, *, server: str = "") -> httpx.Response:
        """Send a request to a user's server through the proxy, as a process with the server's token does."""
        name = f"{user}/{server}" if server else user
        return httpx.post(
            f"{self.public_url}/user/{name}/{path}",
            json=body,
            headers={"Authorization": f"token {token}"},
            timeout=30,
            trust_env=False,
        )

    @contextlib.contextmanager
    def browser(self, user: str) -> Iterator[httpx.Client]:
        """Open a client that is signed in to the Hub as a person's browser is."""
        with httpx.Client(follow_redirects=True, timeout=60, trust_env=False) as client:
            client.get(f"{self.public_url}/hub/login")
            client.post(
                f"{self.public_url}/hub/login?next=%2Fhub-test%2Fhub%2Fhome",
                data={"username": user, "password": PASSWORD, "_xsrf": _xsrf(client)},
            ).raise_for_status()
            yield client

    def oauth_token(
        self,
        browser: httpx.Client,
        client_id: str = SERVICE_CLIENT,
        secret: str = SERVICE_TOKEN,
        callback: str | None = None,
    ) -> str:
        """Return the OAuth token that a client gets in the name of the browser's person, who allows it."""
        callback = callback or self.callback
        code = self.oauth_code(browser, client_id, callback)
        token = httpx.post(
            f"{self.api_url}/oauth2/token",
            data={
                "client_id": client_id,
                "client_secret": secret,
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": callback,
            },
            trust_env=False,
        )
        assert token.status_code == httpx.codes.OK, token.text
        access_token: str = token.json()["access_token"]
        return access_token

    def oauth_code(self, browser: httpx.Client, client_id: str, callback: str) -> str:
        """Return the code with which the Hub sends the browser's person, who allows it, back to a client."""
        answer = browser.get(
            f"{self.public_url}/hub/api/oauth2/authorize",
            params={"client_id": client_id, "redirect_uri": callback, "response_type": "code", "state": "x"},
            follow_redirects=False,
        )
        if answer.status_code == httpx.codes.OK:
            # The page on which the person allows it.
            fields = {
                "_xsrf": _xsrf(browser),
                "scopes": _scopes(answer.text),
            }
            answer = browser.post(
                str(answer.url), data=fields, headers={"Referer": str(answer.url)}, follow_redirects=False
            )
        assert answer.status_code == httpx.codes.FOUND, (answer.status_code, answer.text[:500])
        return parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]

    def clear(self) -> None:
        """Remove what the Hub and its users' servers wrote."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _scopes(page: str) -> list[str]:
    return [part.split('"', 1)[0] for part in page.split('name="scopes" value="')[1:]]


def _xsrf(client: httpx.Client) -> str:
    return client.cookies.get("_xsrf", path="/hub-test/hub/") or ""
