"""``cell-monitor up``: everything on one machine, from the data directory to the addresses that it prints."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cell_monitor.accounts import (
    INSTRUCTOR,
    INSTRUCTOR_PASSWORD_FILE,
    SAMPLE_COURSE,
    copy_sample_notebooks,
    make_login_roles,
    make_sign_in_link,
    prepare_keys,
    read_keys,
    seed_sample_course,
)
from cell_monitor.data_directory import DataDirectory, Instance
from cell_monitor.deployment import embedded_postgres, embedded_valkey
from cell_monitor.invocation import command_line
from cell_monitor.listening import LOOPBACK, Listening
from cell_monitor.ports import DEFAULT_PORT_BASE, Ports
from cell_monitor.services import (
    RunFiles,
    api_service,
    find_dashboard,
    find_extension_wheel,
    gateway_service,
    jupyterlab_service,
    require_jupyterlab,
    worker_service,
)
from cell_monitor.supervisor import Program, Supervisor
from cell_monitor_core.storage.postgres.migrations import migrate
from cell_monitor_core.storage.postgres.roles import API_ROLE, WORKER_ROLE

__all__ = ["SIGN_IN_LINK_LIFETIME", "Addresses", "Installation", "UpOptions", "sign_in_address"]

SIGN_IN_LINK_LIFETIME: Final = timedelta(minutes=15)
SAMPLE_NOTEBOOK: Final = "first-steps.ipynb"

Step = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What the person asked for."""

    ports: Ports
    listening: Listening = field(default_factory=Listening)
    dashboard_dir: Path | None = None
    extension_wheel: Path | None = None
    with_dashboard: bool = True
    with_jupyterlab: bool = True
    api_workers: int = 1


@dataclass(frozen=True, slots=True)
class Addresses:
    """What ``up`` prints.

    Attributes:
        pages: the dashboard, as ``dashboard``.
        ingest: takes students' events and exchanges tokens; ``pages`` does so, too.
        inside: probes and metrics of the API, on this machine only; ``gateway_inside`` and ``worker`` are those of the others.
        jupyterlab: with its token; None without JupyterLab.
        sign_in_link: opens the sample course on the dashboard and signs the instructor in once; None without a dashboard.
        join: page of the sample course to show to students with a JupyterLab of their own; None without a dashboard.
    """

    dashboard: str
    api: str
    pages: str
    ingest: str
    inside: str
    gateway: str
    gateway_inside: str
    worker: str
    jupyterlab: str | None
    user: str
    password: str
    sign_in_link: str | None
    join: str | None

    @property
    def notebook(self) -> str | None:
        """The sample notebook in JupyterLab, with the token; None without JupyterLab."""
        return None if self.jupyterlab is None else self.jupyterlab.replace("/lab?", f"/lab/tree/{SAMPLE_NOTEBOOK}?", 1)

    def as_dict(self) -> dict[str, str | None]:
        """The keys of ``--json``."""
        return asdict(self)


class Installation:
    """One running installation. Use it in the main thread, inside ``data.locked()``."""

    def __init__(self, data: DataDirectory, options: UpOptions, *, step: Step, say: Callable[[str], None]) -> None:
        """Describe it; nothing starts yet.

        Args:
            data: the locked data directory.
            options: ports and parts.
            step: shows one step of the start while it lasts.
            say: shows one line.
        """
        self._data = data
        self._options = options
        self._step = step
        self._supervisor = Supervisor(say)
        self._postgres = embedded_postgres(data)
        self._valkey = embedded_valkey(data)

    def start(self, *, timeout: float = 120.0) -> Addresses:
        """Start everything and wait until it answers.

        Raises:
            EmbeddedServerError: a part does not start; call ``stop`` in any case.
            MissingPartError: a part is not installed.
            PortInUseError: a port is taken.
        """
        options = self._options
        where = self._data.path
        dashboard = find_dashboard(options.dashboard_dir, data_dir=where) if options.with_dashboard else None
        wheel = find_extension_wheel(options.extension_wheel)
        if options.with_jupyterlab:
            require_jupyterlab(data_dir=where)
        other_ports = command_line("up", "--port-base", str(DEFAULT_PORT_BASE + 100), data_dir=where)
        options.ports.require_free(
            with_jupyterlab=options.with_jupyterlab,
            host=options.listening.host,
            advice=f"Stop the program that uses it, or choose other ports, for example: {other_ports}",
        )
        prepare_keys(self._data.secrets)
        with self._step("PostgreSQL and Valkey"):
            self._supervisor.launch([self._valkey, self._postgres])
            self._wait([self._valkey, self._postgres], timeout)
        with self._step("Database schema"):
            asyncio.run(migrate(self._postgres.dsn, keys=read_keys(self._data.secrets)))
        with self._step("Sample course and accounts"):
            logins = asyncio.run(make_login_roles(self._postgres.dsn, self._data.secrets))
            asyncio.run(seed_sample_course(self._postgres.dsn, self._data.secrets))
            copy_sample_notebooks(self._data.work)
        files = self._write_run_files(logins)
        listening = options.listening
        services: list[Program] = [
            api_service(
                self._data,
                options.ports,
                listening,
                files,
                dashboard=dashboard,
                wheel=wheel,
                workers=options.api_workers,
            ),
            worker_service(self._data, options.ports, files),
            gateway_service(self._data, options.ports, listening, files),
        ]
        if options.with_jupyterlab:
            services.append(jupyterlab_service(self._data, options.ports, listening))
        self._supervisor.launch(services)
        for service in services:
            with self._step(service.name):
                self._wait([service], timeout)
        self._data.announce(self._instance())
        return self._addresses()

    def watch(self) -> None:
        """Keep everything running until ``StopRequested``."""
        self._supervisor.watch()

    def stop(self) -> None:
        """Stop everything that was started."""
        self._data.withdraw()
        self._supervisor.stop()

    def _wait(self, programs: Sequence[Program], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        for program in programs:
            program.wait_ready(timeout=max(1.0, deadline - time.monotonic()))

    def _write_run_files(self, logins: Mapping[str, tuple[str, str]]) -> RunFiles:
        write = self._data.write_run_file
        return RunFiles(
            redis_url=write("redis-url", self._valkey.url),
            api_database_url=write("api-database-url", self._database_url(*logins[API_ROLE])),
            worker_database_url=write("worker-database-url", self._database_url(*logins[WORKER_ROLE])),
        )

    def _database_url(self, login: str, password: str) -> str:
        postgres = self._postgres
        return f"postgresql://{login}:{quote(password, safe='')}@127.0.0.1:{postgres.port}/{postgres.database}"

    def _instance(self) -> Instance:
        """Where the commands on this machine find the parts."""
        ports, local = self._options.ports, self._options.listening.local
        return Instance(
            pid=os.getpid(),
            dashboard=f"http://{local}:{ports.api}",
            api=f"http://{local}:{ports.api}",
            gateway=f"ws://{local}:{ports.gateway}/ws",
            worker=f"http://{LOOPBACK}:{ports.worker}",
            jupyterlab=f"http://{local}:{ports.jupyterlab}" if self._options.with_jupyterlab else None,
            postgres_port=self._postgres.port,
            valkey_port=self._valkey.port,
            public_dashboard=self._options.listening.dashboard_url(ports),
            api_inside=f"http://{LOOPBACK}:{ports.api_inside}",
            gateway_inside=f"http://{LOOPBACK}:{ports.gateway_inside}",
        )

    def _addresses(self) -> Addresses:
        """Where people find the parts, from another machine as well if it listens there."""
        ports, listening = self._options.ports, self._options.listening
        jupyterlab = None
        if self._options.with_jupyterlab:
            token = self._data.secrets.get("jupyterlab-token")
            jupyterlab = f"{listening.base_url(ports.jupyterlab)}/lab?token={token}"
        return Addresses(
            dashboard=listening.dashboard_url(ports),
            api=listening.dashboard_url(ports),
            pages=listening.dashboard_url(ports),
            ingest=listening.base_url(ports.ingest),
            inside=f"http://{LOOPBACK}:{ports.api_inside}",
            gateway=listening.gateway_url(ports),
            gateway_inside=f"http://{LOOPBACK}:{ports.gateway_inside}",
            worker=f"http://{LOOPBACK}:{ports.worker}",
            jupyterlab=jupyterlab,
            user=INSTRUCTOR,
            password=self._data.secrets.get(INSTRUCTOR_PASSWORD_FILE),
            sign_in_link=self._sign_in_link(listening.dashboard_url(ports)) if self._options.with_dashboard else None,
            join=join_address(listening.dashboard_url(ports)) if self._options.with_dashboard else None,
        )

    def _sign_in_link(self, dashboard: str) -> str:
        link = asyncio.run(make_sign_in_link(self._postgres.dsn, self._data.secrets, SIGN_IN_LINK_LIFETIME))
        return sign_in_address(f"{dashboard}/courses/{SAMPLE_COURSE}", link)


def join_address(dashboard: str) -> str:
    """Return the URL of the page of the sample course that shows how to join it."""
    return f"{dashboard}/courses/{SAMPLE_COURSE}/join"


def sign_in_address(page: str, link: str) -> str:
    """Return the URL of a page that uses a link: in the fragment, which a browser sends to no server and no log contains."""
    return f"{page}#sign-in={link}"
