"""``cell-monitor up``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from cell_monitor.commands.terminal import DATA_DIR_OPTION, fail, fail_settings, progress_console, say, step
from cell_monitor.data_directory import DataDirectory, DataDirectoryError, default_data_dir
from cell_monitor.embedded.process import EmbeddedServerError
from cell_monitor.installation import SIGN_IN_LINK_LIFETIME, Addresses, Installation, UpOptions
from cell_monitor.invocation import command_line
from cell_monitor.listening import LOOPBACK, Listening, ListeningError
from cell_monitor.ports import DEFAULT_PORT_BASE, PORTS, PortClashError, Ports
from cell_monitor.services import MissingPartError, ignored_settings
from cell_monitor.supervisor import StopRequested, stop_on_signals
from cell_monitor_core.settings import ENV_PREFIX, SettingsError
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres.migrations import MigrationError

__all__ = ["up"]

_PORT = click.IntRange(1, 65_535)
_ON_A_NETWORK = """
Other machines connect to this one without encryption: passwords and what students write can be read in the network. Do
this only in a network that you trust; otherwise leave out --host and put a reverse proxy with TLS in front, with
--public-url (docs/operations/network.md)."""
_JUPYTERLAB_ON_A_NETWORK = (
    "Anyone with JupyterLab's address and token can run programs on this machine as you: do not share it."
)
_PROXIES = f"{ENV_PREFIX}API_FORWARDED_ALLOW_IPS"
_PROXY_NOT_BELIEVED = f"""
What the reverse proxy says of its clients is not believed: set {_PROXIES} to its address. Until then the limits
on sign-in count everybody behind it as one, and the cookie of the sign-in lacks Secure (docs/operations/network.md)."""


@click.command(short_help="Start everything on this machine.")
@DATA_DIR_OPTION
@click.option(
    "--port-base",
    type=click.IntRange(0, 65_536 - PORTS),
    default=DEFAULT_PORT_BASE,
    show_default=True,
    help=f"First of {PORTS} ports: dashboard and API, gateway, worker, JupyterLab, students' events, metrics of API and "
    "gateway. 0 uses free ports.",
)
@click.option("--api-port", type=_PORT, help="Port of the dashboard and API.")
@click.option("--gateway-port", type=_PORT, help="Port of the gateway.")
@click.option("--worker-port", type=_PORT, help="Port of the worker's health and metrics.")
@click.option("--jupyterlab-port", type=_PORT, help="Port of JupyterLab.")
@click.option("--ingest-port", type=_PORT, help="Port that takes students' events and nothing else.")
@click.option(
    "--host",
    default=LOOPBACK,
    show_default=True,
    metavar="ADDRESS",
    help="IPv4 address to listen on: one of this machine, or 0.0.0.0 for all, so that other machines can connect.",
)
@click.option("--name", metavar="NAME", help="Name or address of this machine for others; detected if not given.")
@click.option(
    "--public-url",
    metavar="URL",
    help="URL of a reverse proxy in front, such as https://monitor.example.org. It forwards /ws to the gateway.",
)
@click.option("--api-workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes of the API.")
@click.option(
    "--dashboard-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="CELL_MONITOR_DASHBOARD_DIR",
    help="Folder of a dashboard build that is used instead of this version's.",
)
@click.option(
    "--extension-wheel",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Wheel of the JupyterLab extension that students' computers install, instead of this version's.",
)
@click.option("--without-dashboard", is_flag=True, help="Serve the API without pages.")
@click.option("--without-jupyterlab", is_flag=True, help="Do not start JupyterLab.")
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one JSON line once everything answers.")
def up(
    *,
    data_dir: str | None,
    port_base: int,
    api_port: int | None,
    gateway_port: int | None,
    worker_port: int | None,
    jupyterlab_port: int | None,
    ingest_port: int | None,
    host: str,
    name: str | None,
    public_url: str | None,
    api_workers: int,
    dashboard_dir: Path | None,
    extension_wheel: Path | None,
    without_dashboard: bool,
    without_jupyterlab: bool,
    as_json: bool,
) -> None:
    """Start PostgreSQL, Valkey, the services, the dashboard and JupyterLab with a sample course; stop with Ctrl-C.

    It needs no Docker, no root and no configuration. Data and generated passwords are stored in the data directory and
    used again at the next start. A part that crashes is restarted. The output of each part is in its folder logs/.

    \b
    Examples:
      cell-monitor up                                  the usual start
      cell-monitor up --port-base 9000                 another program has port 8900
      cell-monitor up --data-dir ~/class-b --port-base 0   a second installation on the same machine
      cell-monitor up --host 0.0.0.0                   for other machines in the classroom; read the warnings
      cell-monitor up --json | jq -r .dashboard        for scripts

    Settings of the services are read from the environment: CELL_MONITOR_INFLUXDB_URL (with _TOKEN, _ORG, _BUCKET)
    stores time series in InfluxDB, CELL_MONITOR_OTLP_ENDPOINT sends traces, CELL_MONITOR_LOG_LEVEL=debug logs more.
    """  # noqa: D301 - click's own mark
    data = DataDirectory(Path(data_dir) if data_dir else default_data_dir())
    for variable, option in ignored_settings().items():
        say(f"{variable} has no effect on `up`: use {option}.")
    try:
        ports = Ports.choose(
            port_base,
            api=api_port,
            gateway=gateway_port,
            worker=worker_port,
            jupyterlab=jupyterlab_port,
            ingest=ingest_port,
        )
        listening = Listening.choose(host, name=name, public_url=public_url)
    except (ListeningError, PortClashError) as error:
        raise fail(str(error)) from error
    options = UpOptions(
        ports=ports,
        listening=listening,
        dashboard_dir=dashboard_dir,
        extension_wheel=extension_wheel,
        with_dashboard=not without_dashboard,
        with_jupyterlab=not without_jupyterlab,
        api_workers=api_workers,
    )
    try:
        with data.locked(), stop_on_signals():
            _run(Installation(data, options, step=step, say=say), data=data, options=options, as_json=as_json)
    except SettingsError as error:
        raise fail_settings(error) from error
    except (
        DataDirectoryError,
        EmbeddedServerError,
        MigrationError,
        MissingPartError,
        StoreUnavailable,
    ) as error:
        raise fail(str(error)) from error


def _run(installation: Installation, *, data: DataDirectory, options: UpOptions, as_json: bool) -> None:
    try:
        addresses = installation.start()
        listening = options.listening
        _show(addresses, as_json=as_json, on_a_network=listening.unencrypted or listening.public_url is not None)
        if listening.unencrypted:
            say(_ON_A_NETWORK)
            if options.with_jupyterlab:
                say(_JUPYTERLAB_ON_A_NETWORK)
        if options.listening.public_url is not None and not os.environ.get(_PROXIES):
            say(_PROXY_NOT_BELIEVED)
        if not as_json:
            say("\nIn a second terminal:")
            if addresses.sign_in_link is not None:
                say(f"  {command_line('sign-in-link', data_dir=data.path)}   another link to sign in")
            say(f"  {command_line('simulate', data_dir=data.path)}   a class of 30 at work")
            say("Press Ctrl-C to stop.")
        installation.watch()
    except StopRequested:
        progress_console.print()
    finally:
        with progress_console.status("Stopping …"):
            installation.stop()
    say("Stopped. All data is kept for the next start.")


def _show(addresses: Addresses, *, as_json: bool, on_a_network: bool) -> None:
    # On standard output, without wrapping and colours, because scripts read it too.
    if as_json:
        click.echo(json.dumps(addresses.as_dict()))
        return
    if addresses.sign_in_link is not None:
        minutes = int(SIGN_IN_LINK_LIFETIME.total_seconds() // 60)
        click.echo(f"\nInstructor: the dashboard. This link signs you in once, within {minutes} minutes:")
        click.echo(f"  {addresses.sign_in_link}")
    else:
        click.echo(f"\nAPI: {addresses.api}")
    if addresses.join is not None and on_a_network:
        click.echo("\nStudents with a JupyterLab of their own: sign in, and show them this page:")
        click.echo(f"  {addresses.join}")
    if addresses.notebook is not None:
        click.echo("\nStudent: JupyterLab with the sample notebook:")
        click.echo(f"  {addresses.notebook}")
