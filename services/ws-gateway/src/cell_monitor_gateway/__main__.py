"""Run the gateway: ``python -m cell_monitor_gateway``, configured by ``CELL_MONITOR_*`` variables."""

from __future__ import annotations

import argparse
import sys

import uvloop

from cell_monitor_core.runtime import SlowPathError, require_fast_path, tune_gc
from cell_monitor_core.settings import SettingsError
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_gateway.main import create_app
from cell_monitor_gateway.server import GatewayServer, server_config

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m cell_monitor_gateway",
        description="Cell Monitor's WebSocket gateway. All settings are environment variables CELL_MONITOR_*; "
        "SIGTERM sends the connections away in batches before the process ends.",
    )
    parser.parse_args(arguments)
    try:
        require_fast_path()
        settings = GatewaySettings.load()
    except (SettingsError, SlowPathError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    app = create_app(settings)
    server = GatewayServer(server_config(app, settings), app.context.drain)
    tune_gc()
    uvloop.run(server.serve())
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
