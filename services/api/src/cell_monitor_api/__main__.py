"""``python -m cell_monitor_api``: check the settings, prepare the metrics directory, become gunicorn."""

from __future__ import annotations

import argparse
import os
import sys

from cell_monitor_api.config import ApiSettings
from cell_monitor_api.metrics_directory import VARIABLE, MetricsDirectoryError, prepare_metrics_directory
from cell_monitor_core.settings import SettingsError

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    names = sorted(f"CELL_MONITOR_{name.upper()}" for name in ApiSettings.model_fields)
    return argparse.ArgumentParser(
        prog="python -m cell_monitor_api",
        description="Cell Monitor's HTTP API. It is configured by environment variables only.",
        epilog="Variables: " + ", ".join(names) + ". Every secret is also read from the file named by <NAME>_FILE.",
    )


def main() -> None:
    """Entry point."""
    _parser().parse_args()
    try:
        ApiSettings.load()
    except SettingsError as error:
        sys.exit(f"cell-monitor-api: the settings are not right.\n{error}")
    try:
        directory = prepare_metrics_directory()
    except MetricsDirectoryError as error:
        sys.exit(f"cell-monitor-api: {error}")
    # prometheus_client reads the variable when it is imported: in the workers, which inherit it.
    environment = {**os.environ, VARIABLE: str(directory)}
    arguments = [sys.executable, "-m", "gunicorn", "--config", "python:cell_monitor_api.gunicorn_conf"]
    os.execve(sys.executable, arguments, environment)  # noqa: S606 - replaces this process, by design, without a shell


if __name__ == "__main__":
    main()
