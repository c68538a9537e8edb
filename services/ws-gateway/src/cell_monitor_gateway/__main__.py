"""Run the gateway: ``python -m cell_monitor_gateway``, configured by ``CELL_MONITOR_*`` variables."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

import uvloop

from cell_monitor_core.runtime import SlowPathError, require_fast_path, tune_gc
from cell_monitor_core.settings import SettingsError
from cell_monitor_core.telemetry.logs import configure_logging
from cell_monitor_core.telemetry.metrics import set_build_info
from cell_monitor_core.telemetry.start_errors import report_settings
from cell_monitor_core.telemetry.tracing import configure_tracing, shutdown_tracing
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_gateway.process import GatewayProcess
from cell_monitor_gateway.server import GatewayServer, listening_sockets, server_config
from cell_monitor_gateway.version import VERSION

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m cell_monitor_gateway",
        description="Cell Monitor's WebSocket gateway. All settings are environment variables CELL_MONITOR_*; "
        "SIGTERM closes the connections in batches before the process ends.",
    )
    parser.parse_args(arguments)
    try:
        settings = GatewaySettings.load()
    except SettingsError as error:
        return report_settings(error, "gateway")
    try:
        require_fast_path()
    except SlowPathError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings, "gateway")
    set_build_info("gateway", VERSION)
    # uvicorn restores these when it has shut down and raises the signal again: an orderly shutdown exits with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ignore)
    # The end of a terminal, or an operator who expects a reload; a restart reads the settings again.
    signal.signal(signal.SIGHUP, _terminate)
    return uvloop.run(_serve(settings))


async def _serve(settings: GatewaySettings) -> int:
    configure_tracing(settings, "gateway")
    process = GatewayProcess.from_settings(settings)
    config = server_config(process.app, settings)
    server = GatewayServer(config, process.drain)
    process.on_failure = server.stop
    tune_gc()
    await server.serve(sockets=listening_sockets(config, settings))
    await asyncio.to_thread(shutdown_tracing)
    return 0 if server.started and process.failed is None else 1


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing: the server has shut down."""


def _terminate(_number: int, _frame: object) -> None:
    """Do what SIGTERM does."""
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
