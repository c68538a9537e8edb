"""``python -m cell_monitor_api``: check the settings, prepare the metrics directory, become gunicorn."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from cell_monitor_api.config import ApiSettings
from cell_monitor_core.settings import SettingsError

__all__ = ["main"]

_METRIC_FILES = ("*.db",)


def _parser() -> argparse.ArgumentParser:
    names = sorted(f"CELL_MONITOR_{name.upper()}" for name in ApiSettings.model_fields)
    return argparse.ArgumentParser(
        prog="python -m cell_monitor_api",
        description="Cell Monitor's HTTP API. It is configured by environment variables only.",
        epilog="Variables: " + ", ".join(names) + ". Every secret is also read from the file named by <NAME>_FILE.",
    )


def prepare_metrics_directory(port: int) -> Path:
    """Return the directory of the metrics that the worker processes share, empty.

    Files of an earlier run would be added to this run's counters. A directory that the operator names is emptied of
    ``*.db`` files only.
    """
    named = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if named:
        directory = Path(named)
        directory.mkdir(parents=True, exist_ok=True)
        for pattern in _METRIC_FILES:
            for file in directory.glob(pattern):
                file.unlink(missing_ok=True)
        return directory
    # One place for each port: the directory of a run that was killed is found and emptied by the next.
    directory = Path(tempfile.gettempdir()) / f"cell-monitor-api-{os.getuid()}-{port}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    return directory


def main() -> None:
    """Entry point."""
    _parser().parse_args()
    try:
        settings = ApiSettings.load()
    except SettingsError as error:
        sys.exit(f"cell-monitor-api: the settings are not right.\n{error}")
    # prometheus_client reads the variable when it is imported: in the workers, which inherit it.
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(prepare_metrics_directory(settings.api_port))}
    arguments = [sys.executable, "-m", "gunicorn", "--config", "python:cell_monitor_api.gunicorn_conf"]
    os.execve(sys.executable, arguments, environment)  # noqa: S606 - replaces this process, by design, without a shell


if __name__ == "__main__":
    main()
