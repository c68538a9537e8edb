"""gunicorn's settings, read by ``python -m cell_monitor_api``; all of them come from ``CELL_MONITOR_API_*``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from prometheus_client import multiprocess

from cell_monitor_api.config import ApiSettings
from cell_monitor_api.metrics_directory import remove_metrics_directory
from cell_monitor_core.settings import SettingsError
from cell_monitor_core.telemetry.start_errors import report_settings

_MEMORY = "/dev/shm"  # noqa: S108 - gunicorn makes an unlinked file of its own there
try:
    _settings = ApiSettings.load()
except SettingsError as error:
    sys.exit(report_settings(error, "api"))

bind = _settings.bind
workers = _settings.api_workers
worker_class = "cell_monitor_api.server.ApiWorker"
wsgi_app = "cell_monitor_api.main:create_app()"
proc_name = "cell-monitor-api"
backlog = 2048
# Above the usual 60 s of load balancers, so that they and not we close an idle connection.
keepalive = 75
timeout = 30
graceful_timeout = 25
# Its default believes headers from this machine. Those of the configured proxies are read in main.create_app.
forwarded_allow_ips = ""
# Workers report by touching a file; on a disk under load that blocks them (gunicorn FAQ), in memory it does not.
worker_tmp_dir = _MEMORY if Path(_MEMORY).is_dir() else None
accesslog = None
errorlog = "-"
loglevel = "warning"
control_socket_disable = True


def child_exit(_server: Any, worker: Any) -> None:
    """Forget the gauges of a worker that has gone."""
    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Remove what is left of the metrics, unless another master has taken over (SIGUSR2)."""
    if not server.reexec_pid:
        remove_metrics_directory()
