"""The Jupyter Server half: configuration, and what lives as long as the server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from jupyter_core.paths import jupyter_data_dir
from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Float, Integer, TraitError, Unicode, default, validate

from .credentials import configured_credentials
from .forwarder import Forwarder
from .join_routes import JoinHandler
from .join_store import JOINED_SPOOLS, Joined, JoinStore
from .joining import Joining
from .kernel_listener import KernelListener, unavailable
from .notebook_files import NotebookFiles, follow_changes
from .notebook_ids import NotebookIds
from .notebook_routes import NotebooksHandler
from .routes import EventsHandler, StatusHandler
from .run_journal import RunJournal
from .spool import Spool, open_spool
from .tokens import Credential, ExchangedTokens
from .upstream import Upstream

__all__ = ["CellMonitorApp"]


class CellMonitorApp(ExtensionApp):
    """Sends what the JupyterLab extension records to the cell monitor, in this student's name.

    The student can read the API key, since the server is theirs; a key for this use may only write that student's
    own events.
    """

    name = "jupyterlab_cell_monitor"
    app_name = "Cell Monitor"
    description = "Sends what happens in notebooks to the cell monitor."
    load_other_extensions = True

    api_url = Unicode(
        help="Address of the cell monitor's API, e.g. https://monitor.example.org. Empty switches the monitor off. "
        "Default: the environment's CELL_MONITOR_API_URL."
    ).tag(config=True)
    api_key = Unicode(
        help="API key with the scope events:write. Better kept in a file: see api_key_file. "
        "Default: the environment's CELL_MONITOR_API_KEY."
    ).tag(config=True)
    api_key_file = Unicode(
        help="File that holds the API key. It is read again for each token, so the key can be replaced at any time. "
        "Default: the environment's CELL_MONITOR_API_KEY_FILE."
    ).tag(config=True)
    hub_token = Unicode(
        help="Token that JupyterHub made for sending, where no API key is configured; else the server's own token is "
        "used. Default: the environment's CELL_MONITOR_HUB_TOKEN."
    ).tag(config=True)
    course = Unicode(
        help="Course of notebooks that name none themselves. Empty lets the monitor decide by its roster. "
        "Default: the environment's CELL_MONITOR_COURSE."
    ).tag(config=True)
    test_mode = Bool(
        help="Whether events are accepted with a test_id in the body and sent to the monitor's test mode. "
        "Default: whether the environment's CELL_MONITOR_TEST_MODE is true."
    ).tag(config=True)
    spool_dir = Unicode(
        help="Directory for events while the monitor is unavailable, and for the names of runs that go on. "
        "Default: the environment's CELL_MONITOR_SPOOL_DIR, else cell-monitor/spool in Jupyter's data directory."
    ).tag(config=True)
    spool_max_bytes = Integer(
        64 * 1024 * 1024,
        min=64 * 1024,
        help="Maximum size of the spool on the disk, in bytes; the oldest events are dropped first.",
    ).tag(config=True)
    connect_timeout_s = Float(2.0, min=0.05, help="Seconds to wait for a connection to the API.").tag(config=True)
    request_timeout_s = Float(5.0, min=0.05, help="Seconds after which a request to the API is aborted.").tag(
        config=True
    )

    _forwarder: Forwarder | None = None
    _client: httpx.AsyncClient | None = None
    _listener: KernelListener | None = None
    _joining: Joining | None = None

    @default("api_url")
    def _default_api_url(self) -> str:
        return os.environ.get("CELL_MONITOR_API_URL", "")

    @default("api_key")
    def _default_api_key(self) -> str:
        return os.environ.get("CELL_MONITOR_API_KEY", "")

    @default("api_key_file")
    def _default_api_key_file(self) -> str:
        return os.environ.get("CELL_MONITOR_API_KEY_FILE", "")

    @default("hub_token")
    def _default_hub_token(self) -> str:
        return os.environ.get("CELL_MONITOR_HUB_TOKEN", "")

    @default("course")
    def _default_course(self) -> str:
        return os.environ.get("CELL_MONITOR_COURSE", "")

    @default("test_mode")
    def _default_test_mode(self) -> bool:
        return os.environ.get("CELL_MONITOR_TEST_MODE", "").lower() in {"1", "true", "yes"}

    @default("spool_dir")
    def _default_spool_dir(self) -> str:
        return os.environ.get("CELL_MONITOR_SPOOL_DIR") or str(Path(jupyter_data_dir()) / "cell-monitor" / "spool")

    @validate("api_url")
    def _check_api_url(self, proposal: dict[str, Any]) -> str:
        url = str(proposal["value"]).strip().rstrip("/")
        if url:
            _require_http(url)
        return url

    def initialize_settings(self) -> None:
        """Creates the forwarder. A wrong configuration switches the monitor off and never fails the server's start."""
        upstream: Upstream | None = None
        problem: str | None = None
        try:
            api_url = self.api_url
            if api_url:
                _require_http(api_url)
        except TraitError as error:
            api_url, problem = "", str(error)
        credentials = configured_credentials(self.api_key, self.api_key_file, self.hub_token, os.environ)
        open_spool = self._open_spool
        if credentials is None and problem is None:
            # Neither a key nor a Hub: the student may join a class by its code, or did so before.
            directory = Path(jupyter_data_dir()) / "cell-monitor"
            store, attempts = JoinStore(directory / "joined.json"), JoinStore(directory / "joining.json")
            self._joining = Joining(self._made_client(), store, attempts, api_url or None, self._connect)
            joined = self._joining.current
            if joined is not None:
                upstream = self._upstream(joined.address, self._joining.credentials)
                open_spool = partial(self._open_spool, joined.folder)
        elif api_url and credentials is not None:
            upstream = self._upstream(api_url, credentials)
        if problem:
            self.log.warning("The cell monitor is switched off: %s.", problem)
        joinable = self._joining is not None
        self._forwarder = Forwarder(upstream, open_spool, self.log, misconfigured=problem, joinable=joinable)
        self.settings["cell_monitor_forwarder"] = self._forwarder
        self.settings["cell_monitor_joining"] = self._joining
        self.settings["cell_monitor_test_mode"] = self.test_mode
        # The front end reads them from the page.
        page_config = self.settings.setdefault("page_config_data", {})
        self._initialize_notebook_ids()
        if self.course:
            page_config["cellMonitorCourse"] = self.course
        if joinable:
            page_config["cellMonitorCanJoin"] = "true"
        if upstream is not None or joinable:
            self._listen_to_kernels(self._forwarder)
        follows = "true" if self._listener is not None else "false"
        page_config["cellMonitorFollowsRuns"] = follows
        # Earlier releases follow runs, too, but send on what a page hands over.
        page_config["cellMonitorTakesRuns"] = follows
        if not hasattr(ExtensionApp, "_start_jupyter_server_extension"):
            assert self.serverapp is not None
            # jupyter_server before 2.15 starts no extension: it begins when the server's loop runs.
            self.serverapp.io_loop.add_callback(self._begin)

    def _initialize_notebook_ids(self) -> None:
        assert self.serverapp is not None
        contents = self.serverapp.contents_manager
        files = NotebookFiles(contents)
        directory = Path(jupyter_data_dir()) / "cell-monitor" / "notebooks"
        ids = NotebookIds(directory, str(getattr(contents, "root_dir", "")), files.exists)
        self.settings["cell_monitor_notebook_files"] = files
        self.settings["cell_monitor_notebook_ids"] = ids
        follow_changes(contents.event_logger, contents.event_schema_id, ids, files, self.log)

    def initialize_handlers(self) -> None:
        """Adds the addresses."""
        self.handlers.extend(
            [
                (r"/cell-monitor/?", EventsHandler),
                (r"/cell-monitor/status/?", StatusHandler),
                (r"/cell-monitor/join/?", JoinHandler),
                (r"/cell-monitor/notebooks/?", NotebooksHandler),
            ]
        )

    async def _start_jupyter_server_extension(self, _serverapp: Any) -> None:
        await self._begin()

    async def _begin(self) -> None:
        if self._forwarder is not None:
            await self._forwarder.start()
        if self._joining is None or self._joining.current is not None:
            self._follow_runs()

    async def stop_extension(self) -> None:
        """Stops sending; what is spooled stays on the disk."""
        if self._listener is not None:
            await self._listener.close()
        if self._forwarder is not None:
            await self._forwarder.close()
        if self._client is not None:
            await self._client.aclose()

    def _listen_to_kernels(self, forwarder: Forwarder) -> None:
        problem = unavailable(self.serverapp)
        if problem is None:
            journal = RunJournal(Path(self.spool_dir).expanduser() / "runs", self.log)
            self._listener = KernelListener(self.serverapp, forwarder.submit, journal, self.log)
        else:
            self.log.warning("Runs that go on after their notebook was closed are not followed: %s.", problem)
        self.settings["cell_monitor_listener"] = self._listener
        self.settings["cell_monitor_listener_problem"] = problem

    def _made_client(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(self.request_timeout_s, connect=self.connect_timeout_s),
                limits=httpx.Limits(max_connections=10, max_keepalive_connections=4, keepalive_expiry=30),
            )
        return self._client

    def _upstream(self, address: str, credentials: Callable[[], Sequence[Credential]]) -> Upstream:
        client = self._made_client()
        on_answer = None if self._joining is None else self._joining.answered
        tokens = ExchangedTokens(client, f"{address}/api/v1/auth/token", credentials, on_answer=on_answer)
        return Upstream(client, address, tokens, self.request_timeout_s)

    async def _connect(self, joined: Joined) -> None:
        """Sends to the monitor whose class was joined."""
        assert self._forwarder is not None
        assert self._joining is not None
        upstream = self._upstream(joined.address, self._joining.credentials)
        await self._forwarder.connect(upstream, partial(self._open_spool, joined.folder))
        self._follow_runs()

    def _follow_runs(self) -> None:
        # Not before there is somewhere to send to: of somebody who joined no class nothing is stored.
        if self._listener is not None:
            self._listener.start()

    def _open_spool(self, folder: str = "") -> Spool:
        directory = Path(self.spool_dir).expanduser()
        if folder:
            # Each joining has a spool of its own: what was done as one student is never sent as another, or elsewhere.
            for other in directory.glob(f"{JOINED_SPOOLS}*"):
                if other.name != folder:
                    shutil.rmtree(other, ignore_errors=True)
        return open_spool(directory / folder, self.spool_max_bytes)


def _require_http(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise TraitError(f"api_url must be like https://monitor.example.org, not {parts.scheme or 'a bare'} text")
