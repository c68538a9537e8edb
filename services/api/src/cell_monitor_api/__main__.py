"""``python -m cell_monitor_api``: check the settings, prepare the metrics directory, become gunicorn.

``python -m cell_monitor_api openapi`` prints the OpenAPI document instead; it needs no settings.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from cell_monitor_api.config import ApiSettings
from cell_monitor_api.metrics_directory import VARIABLE, MetricsDirectoryError, prepare_metrics_directory
from cell_monitor_core.settings import SettingsError
from cell_monitor_core.telemetry.start_errors import report_settings

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    names = sorted(f"CELL_MONITOR_{name.upper()}" for name in ApiSettings.model_fields)
    parser = argparse.ArgumentParser(
        prog="python -m cell_monitor_api",
        description="Cell Monitor's HTTP API. It is configured by environment variables only.",
        epilog="Variables: " + ", ".join(names) + ". Every secret is also read from the file named by <NAME>_FILE.",
    )
    commands = parser.add_subparsers(dest="command", title="commands", description="without one: serve")
    commands.add_parser("openapi", help="print the OpenAPI document as JSON and end")
    return parser


def main() -> None:
    """Serve, or run the command of the first argument."""
    if _parser().parse_args().command == "openapi":
        _print_openapi()
    else:
        _serve()


def _print_openapi() -> None:
    # Imported here: a server imports the application in its worker processes, once their environment is complete.
    from cell_monitor_api.main import create_api  # noqa: PLC0415
    from cell_monitor_api.openapi import document  # noqa: PLC0415

    json.dump(document(create_api(None)), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def _serve() -> None:
    try:
        ApiSettings.load()
    except SettingsError as error:
        sys.exit(report_settings(error, "api"))
    try:
        directory = prepare_metrics_directory()
    except MetricsDirectoryError as error:
        sys.exit(report_settings(error, "api"))
    # prometheus_client reads the variable when it is imported: in the workers, which inherit it.
    environment = {**os.environ, VARIABLE: str(directory)}
    arguments = [sys.executable, "-m", "gunicorn", "--config", "python:cell_monitor_api.gunicorn_conf"]
    os.execve(sys.executable, arguments, environment)  # noqa: S606 - replaces this process, by design, without a shell


if __name__ == "__main__":
    main()
