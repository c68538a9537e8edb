"""The services and JupyterLab as child processes, each with exactly the environment that it needs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from cell_monitor.data_directory import DataDirectory
from cell_monitor.embedded.process import ChildProcess
from cell_monitor.invocation import command_line
from cell_monitor.jupyter_log import LOGGING_CONFIG
from cell_monitor.listening import LOOPBACK, Listening
from cell_monitor.ports import Ports
from cell_monitor.supervisor import HttpService
from cell_monitor_core.settings import ENV_PREFIX, OTHER_PROGRAMS

__all__ = [
    "MissingPartError",
    "RunFiles",
    "api_service",
    "find_dashboard",
    "find_extension_wheel",
    "gateway_service",
    "ignored_settings",
    "jupyterlab_service",
    "require_jupyterlab",
    "worker_service",
]

# Settings that `up` sets itself, and the option that changes each.
_BY_OPTION: Final = {
    "API_HOST": "--host",
    "GATEWAY_HOST": "--host",
    "API_PORT": "--api-port",
    "GATEWAY_PORT": "--gateway-port",
    "WORKER_PORT": "--worker-port",
    "API_INGEST_PORT": "--ingest-port",
    "API_INSIDE_PORT": "--port-base",
    "GATEWAY_INSIDE_PORT": "--port-base",
    "API_WORKERS": "--api-workers",
    "GATEWAY_URL": "--name or --public-url",
    "ALLOWED_ORIGINS": "--name or --public-url",
    "API_EXTENSION_WHEEL": "--extension-wheel",
}
# Variables of the caller's environment that every program needs.
_INHERITED: Final = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
# No dialog and no request to jupyter.org: a classroom may have no internet connection.
_LAB_SETTINGS: Final = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}


class MissingPartError(RuntimeError):
    """A part of the installation is missing; the message names it and what to do."""


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Files of mode 0600 with the connection URLs, so that no secret is visible in a list of processes."""

    redis_url: Path
    api_database_url: Path
    worker_database_url: Path


def find_dashboard(given: Path | None, *, data_dir: Path | None = None) -> Path:
    """Return the folder of the built dashboard; ``data_dir`` is used in the message of the error.

    Raises:
        MissingPartError: it is not built.
    """
    if given is not None:
        if not (given / "index.html").is_file():
            raise MissingPartError(f"{given} holds no built dashboard (no index.html). Build it with `make dashboard`.")
        return given
    # In a clone of the repository, or in the data of an installed wheel.
    clone = Path(__file__).resolve().parents[4] / "dashboard" / "dist"
    installed = Path(sys.prefix) / "share" / "cell-monitor" / "dashboard"
    for candidate in (clone, installed):
        if (candidate / "index.html").is_file():
            return candidate
    raise MissingPartError(
        f"The dashboard is not built ({clone} has no index.html). Run `make dashboard` in the project's folder, which "
        "needs Node.js 20 or newer; or start without pages: "
        f"{command_line('up', '--without-dashboard', data_dir=data_dir)}"
    )


def find_extension_wheel(given: Path | None) -> Path | None:
    """Return the wheel of the JupyterLab extension that students' computers can install; None if there is none.

    Raises:
        MissingPartError: the one given is not there.
    """
    if given is not None:
        if not given.is_file():
            raise MissingPartError(f"{given} is no file. Build the extension's wheel with `make install`.")
        return given.resolve()
    # In a clone of the repository, or in the data of an installed wheel.
    clone = Path(__file__).resolve().parents[4] / "build" / "wheel"
    installed = Path(sys.prefix) / "share" / "cell-monitor"
    for folder in (clone, installed):
        wheels = sorted(folder.glob("jupyterlab_cell_monitor-*.whl"), key=lambda path: path.stat().st_mtime)
        if wheels:
            return wheels[-1]
    return None


def require_jupyterlab(*, data_dir: Path | None = None) -> None:
    """Check that JupyterLab and the extension are installed; ``data_dir`` is used in the message of the error.

    Raises:
        MissingPartError: one of them is not installed.
    """
    for module, package in (("jupyterlab", "jupyterlab"), ("jupyterlab_cell_monitor", "jupyterlab-cell-monitor")):
        if find_spec(module) is None:
            raise MissingPartError(
                f"The package {package} is not installed: run `pip install jupyterlab jupyterlab-cell-monitor` "
                "(in a clone: `make install`); or start without it: "
                f"{command_line('up', '--without-jupyterlab', data_dir=data_dir)}"
            )


def api_service(
    data: DataDirectory,
    ports: Ports,
    listening: Listening,
    files: RunFiles,
    *,
    dashboard: Path | None,
    wheel: Path | None,
    workers: int,
) -> HttpService:
    """Return the API as a child process; it is not started."""
    settings = {
        "API_HOST": listening.host,
        "API_PORT": str(ports.api),
        "API_INGEST_PORT": str(ports.ingest),
        "API_INSIDE_HOST": LOOPBACK,
        "API_INSIDE_PORT": str(ports.api_inside),
        "API_WORKERS": str(workers),
        "DATABASE_URL_FILE": str(files.api_database_url),
        "REDIS_URL_FILE": str(files.redis_url),
        "ENCRYPTION_KEYS_FILE": str(data.secrets.path / "encryption-keys.json"),
        "INDEX_KEY_FILE": str(data.secrets.path / "index-key"),
        "SIGNING_KEYS_FILE": str(data.secrets.path / "signing-keys.json"),
        "GATEWAY_URL": listening.gateway_url(ports),
    }
    if listening.public_url is not None:
        settings["PUBLIC_URL"] = listening.public_url
    if dashboard is not None:
        settings["DASHBOARD_DIR"] = str(dashboard)
    if wheel is not None:
        settings["API_EXTENSION_WHEEL"] = str(wheel)
    return _service(data, "API", "cell_monitor_api", settings, f"{LOOPBACK}:{ports.api_inside}")


def worker_service(data: DataDirectory, ports: Ports, files: RunFiles) -> HttpService:
    """Return the worker as a child process; it is not started."""
    settings = {
        "WORKER_HOST": LOOPBACK,
        "WORKER_PORT": str(ports.worker),
        "DATABASE_URL_FILE": str(files.worker_database_url),
        "REDIS_URL_FILE": str(files.redis_url),
        "ENCRYPTION_KEYS_FILE": str(data.secrets.path / "encryption-keys.json"),
    }
    return _service(data, "Worker", "cell_monitor_worker", settings, f"{LOOPBACK}:{ports.worker}")


def gateway_service(data: DataDirectory, ports: Ports, listening: Listening, files: RunFiles) -> HttpService:
    """Return the gateway as a child process; it is not started."""
    settings = {
        "GATEWAY_HOST": listening.host,
        "GATEWAY_PORT": str(ports.gateway),
        "GATEWAY_INSIDE_HOST": LOOPBACK,
        "GATEWAY_INSIDE_PORT": str(ports.gateway_inside),
        "REDIS_URL_FILE": str(files.redis_url),
        "JWKS_URL": f"http://{listening.local}:{ports.api}/api/v1/auth/jwks.json",
        "ALLOWED_ORIGINS": ",".join(listening.origins(ports)),
    }
    return _service(data, "Gateway", "cell_monitor_gateway", settings, f"{LOOPBACK}:{ports.gateway_inside}")


def jupyterlab_service(data: DataDirectory, ports: Ports, listening: Listening) -> HttpService:
    """Return JupyterLab as a child process. It has its own configuration and does not change the user's."""
    overrides = data.jupyter / "config" / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir(parents=True, exist_ok=True)
    overrides.write_text(json.dumps(_LAB_SETTINGS), encoding="utf-8")
    environment = _inherited() | {
        "JUPYTER_TOKEN": data.secrets.get("jupyterlab-token"),
        "JUPYTER_CONFIG_DIR": str(data.jupyter / "config"),
        "JUPYTER_DATA_DIR": str(data.jupyter / "data"),
        "JUPYTER_RUNTIME_DIR": str(data.jupyter / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(data.jupyter / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(data.jupyter / "workspaces"),
        "IPYTHONDIR": str(data.jupyter / "ipython"),
        f"{ENV_PREFIX}API_URL": f"http://{listening.local}:{ports.ingest}",
        f"{ENV_PREFIX}API_KEY_FILE": str(data.secrets.path / "student-api-key"),
    }
    arguments = [
        "--no-browser",
        f"--ServerApp.ip={listening.host}",
        f"--ServerApp.port={ports.jupyterlab}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={data.work}",
        "--ServerApp.jpserver_extensions=jupyterlab_cell_monitor=True",
        f"--Application.logging_config={LOGGING_CONFIG}",
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]
    process = ChildProcess(
        "JupyterLab",
        [sys.executable, "-m", "jupyterlab", *arguments],
        log_path=data.logs / "jupyterlab.log",
        env=environment,
        cwd=data.work,
    )
    return HttpService(process, f"http://{listening.local}:{ports.jupyterlab}/api")


def ignored_settings() -> dict[str, str]:
    """Return the variables of the caller that have no effect here, each with the option to use instead."""
    return {
        f"{ENV_PREFIX}{name}": option for name, option in _BY_OPTION.items() if os.environ.get(f"{ENV_PREFIX}{name}")
    }


def _service(data: DataDirectory, name: str, module: str, settings: Mapping[str, str], address: str) -> HttpService:
    own = {f"{ENV_PREFIX}{key}": value for key, value in settings.items()}
    process = ChildProcess(
        name,
        [sys.executable, "-m", module],
        log_path=data.logs / f"{name.lower()}.log",
        env=_inherited() | _tuning(settings) | own,
        cwd=data.path,
    )
    return HttpService(process, f"http://{address}/readyz")


def _inherited() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _INHERITED or name.startswith(("LC_", "OTEL_")) or name == "PYTHONDONTWRITEBYTECODE"
    }


def _tuning(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's settings for the services (InfluxDB, traces, log level) without those that ``up`` sets.

    A service refuses an unknown variable, so a misspelled one is reported at start.
    """
    # DASHBOARD_DIR is the option --dashboard-dir, which `up` hands to the API only.
    decided = OTHER_PROGRAMS | {"DASHBOARD_DIR", "API_EXTENSION_WHEEL"} | set(settings)
    # FOO and FOO_FILE are the same setting.
    decided |= {f"{name}_FILE" for name in settings} | {name.removesuffix("_FILE") for name in settings}
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(ENV_PREFIX) and name.removeprefix(ENV_PREFIX) not in decided
    }
