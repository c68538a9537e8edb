"""Run the worker: ``python -m cell_monitor_worker``, configured by ``CELL_MONITOR_*`` variables."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version

import uvloop

from cell_monitor_core.runtime import SlowPathError, require_fast_path
from cell_monitor_core.settings import SettingsError
from cell_monitor_core.storage.ports import LogUnavailable, StoreUnavailable
from cell_monitor_core.storage.postgres.migrations import SchemaMismatch
from cell_monitor_core.telemetry.logs import configure_logging
from cell_monitor_core.telemetry.metrics import set_build_info
from cell_monitor_core.telemetry.start_errors import report_settings
from cell_monitor_worker.config import WorkerSettings
from cell_monitor_worker.worker import Worker

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command of the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m cell_monitor_worker",
        description="Cell Monitor's worker: stores queued events, derives states, publishes them. All settings are "
        "environment variables CELL_MONITOR_*. Exit status 3: too large a share of the events failed, see the log.",
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("run", help="work until SIGTERM (the default)")
    parser.parse_args(arguments)
    try:
        settings = WorkerSettings.load()
    except SettingsError as error:
        return report_settings(error, "worker")
    try:
        require_fast_path()
        configure_logging(settings, "worker")
        set_build_info("worker", version("cell-monitor-worker"))
        return uvloop.run(_run(settings))
    except (SlowPathError, SchemaMismatch, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (StoreUnavailable, LogUnavailable) as error:
        sys.stderr.write(f"{error}\n")
        return 1


async def _run(settings: WorkerSettings) -> int:
    return await Worker(settings).run()


if __name__ == "__main__":
    sys.exit(main())
