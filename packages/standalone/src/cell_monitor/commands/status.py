"""``cell-monitor status``."""

from __future__ import annotations

import json
from pathlib import Path

import click
import httpx
from rich.console import Console
from rich.table import Table

from cell_monitor.commands.terminal import DATA_DIR_OPTION
from cell_monitor.data_directory import DataDirectory, Instance, default_data_dir
from cell_monitor.invocation import command_line

__all__ = ["status"]


@click.command(short_help="Show whether all parts run and are ready.")
@DATA_DIR_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line.")
def status(*, data_dir: str | None, as_json: bool) -> None:
    """Show the state of each part of the installation that `up` started.

    The exit code is 0 if all parts are ready, 1 if one does not answer or is not ready, 3 if nothing runs.

    \b
    Examples:
      cell-monitor status
      cell-monitor status --data-dir ./var --json
    """  # noqa: D301 - click's own mark
    data = DataDirectory(Path(data_dir) if data_dir else default_data_dir())
    instance = data.running_instance()
    if instance is None:
        if as_json:
            click.echo(json.dumps({"running": False}))
        else:
            click.echo(
                f"Cell Monitor does not run on the data directory {data.path}. "
                f"Start it with: {command_line('up', data_dir=data.path)}"
            )
        raise SystemExit(3)
    parts = _probe(instance)
    well = all(state == "ready" for _, _, state in parts)
    if as_json:
        states = {name: {"url": url, "state": state} for name, url, state in parts}
        click.echo(json.dumps({"running": True, "well": well, "pid": instance.pid, "parts": states}))
    else:
        table = Table(title=f"Cell Monitor, process {instance.pid}, data in {data.path}", title_justify="left")
        for heading in ("part", "address", "state"):
            table.add_column(heading, overflow="fold")
        for part in parts:
            table.add_row(*part)
        Console(highlight=False).print(table)
    if not well:
        raise SystemExit(1)


# In words what an operator is to do something about.
_MEANINGS = {
    "events: RedisFull": "Redis is full and refuses events",
    "events: StreamFull": "a stream of events has reached its limit and refuses events",
    "postgresql: timeout": "PostgreSQL does not answer",
    "redis: timeout": "Redis does not answer",
}


def _state_of(probe: httpx.Response) -> str:
    """Return what a part says of itself: it may be ready and yet report a store that it works on without."""
    lines = [line for line in probe.text.splitlines()[1:] if ": " in line and not line.endswith(": ok")]
    missing = [_MEANINGS.get(line, line) for line in lines]
    if probe.status_code != 200:
        return f"not ready: {', '.join(missing)[:300] or probe.text[:300]}"
    return f"ready, but {', '.join(missing)[:300]}" if missing else "ready"


def _probe(instance: Instance) -> list[tuple[str, str, str]]:
    gateway = instance.gateway.replace("ws://", "http://").removesuffix("/ws")
    probes = [
        ("api", instance.api, f"{instance.api_inside or instance.api}/readyz"),
        ("worker", instance.worker, f"{instance.worker}/readyz"),
        ("gateway", instance.gateway, f"{instance.gateway_inside or gateway}/readyz"),
    ]
    if instance.jupyterlab is not None:
        probes.append(("jupyterlab", instance.jupyterlab, f"{instance.jupyterlab}/api"))
    parts = []
    with httpx.Client(timeout=5, trust_env=False) as client:
        for name, url, probe in probes:
            try:
                response = client.get(probe)
                state = _state_of(response)
            except httpx.TransportError as error:
                state = f"does not answer ({type(error).__name__})"
            parts.append((name, url, state))
    return parts
