"""Run the worker: ``python -m cell_monitor_worker``, configured by ``CELL_MONITOR_*`` variables."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version

import uvloop

from cell_monitor_core import keys
from cell_monitor_core.crypto import DecryptionError, KeyRing
from cell_monitor_core.redis_client import aclose, connect
from cell_monitor_core.runtime import SlowPathError, require_fast_path
from cell_monitor_core.settings import SettingsError
from cell_monitor_core.storage.ports import LogUnavailable, StoreUnavailable
from cell_monitor_core.storage.postgres.migrations import SchemaMismatch, check_schema
from cell_monitor_core.storage.postgres.pool import create_pool
from cell_monitor_core.streams.redis_log import RedisEventLog
from cell_monitor_core.telemetry.logs import configure_logging
from cell_monitor_core.telemetry.metrics import set_build_info
from cell_monitor_worker.config import WorkerSettings
from cell_monitor_worker.replay import ReplayReport, replay_failed
from cell_monitor_worker.worker import Worker

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m cell_monitor_worker",
        description="Cell Monitor's worker: stores queued events, derives states, publishes them. All settings are "
        "environment variables CELL_MONITOR_*. Exit status 3: too large a share of the events failed, see the log.",
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("run", help="work until SIGTERM (the default)")
    replay = commands.add_parser("replay", help="queue the events of failed_events again")
    replay.add_argument("--group", choices=keys.REQUIRED_GROUPS, help="only what failed in this group")
    replay.add_argument("--limit", type=int, help="at most so many")
    options = parser.parse_args(arguments)
    try:
        require_fast_path()
        settings = WorkerSettings.load()
        configure_logging(settings, "worker")
        if options.command == "replay":
            report = uvloop.run(_replay(settings, options.group, options.limit))
            sys.stdout.write(
                f"{report.replayed} failed records with {report.events} events are queued again"
                + (f", {report.unreadable} cannot be read\n" if report.unreadable else "\n")
            )
            return 0
        set_build_info("worker", version("cell-monitor-worker"))
        return uvloop.run(_run(settings))
    except (SettingsError, SlowPathError, SchemaMismatch, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (StoreUnavailable, LogUnavailable, DecryptionError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


async def _run(settings: WorkerSettings) -> int:
    return await Worker(settings).run()


async def _replay(settings: WorkerSettings, group: str | None, limit: int | None) -> ReplayReport:
    assert settings.database_url is not None
    keyring = KeyRing.from_settings(settings)
    pool = await create_pool(settings.database_url, application_name="cell-monitor-replay", max_size=2)
    redis = connect(settings.redis_url.get_secret_value(), name="replay")
    log = RedisEventLog(redis, partitions=settings.partitions)
    try:
        await check_schema(pool)
        return await replay_failed(pool, keyring, log, consumer_group=group, limit=limit)
    finally:
        await log.aclose()
        await aclose(redis)
        await pool.close()


if __name__ == "__main__":
    sys.exit(main())
