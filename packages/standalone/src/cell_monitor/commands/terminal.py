"""Output of the commands: progress and messages on standard error, results on standard output.

Names, titles and ids were written by others, and a terminal obeys control characters: all that is printed passes through
here, where they become escapes (``foreign_text.escaped``).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click
from rich.console import Console
from rich.text import Text

from cell_monitor_core.foreign_text import escaped
from cell_monitor_core.settings import SettingsError
from cell_monitor_core.telemetry.start_errors import BAD_SETTINGS, report_settings

__all__ = [
    "DATA_DIR_OPTION",
    "cell",
    "confirm",
    "echo",
    "fail",
    "fail_settings",
    "print_json",
    "progress_console",
    "say",
    "step",
]

progress_console = Console(stderr=True, highlight=False, soft_wrap=True)

DATA_DIR_OPTION = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=str),
    envvar="CELL_MONITOR_DATA_DIR",
    default=None,
    help="Folder of all data; the default is ~/.local/share/cell-monitor. [env: CELL_MONITOR_DATA_DIR]",
)


def say(line: str) -> None:
    """Print a message of progress."""
    progress_console.print(_lines(line), markup=False)


def echo(line: str) -> None:
    """Print a result on standard output."""
    click.echo(_lines(line))


def cell(text: str | None) -> Text:
    """Return a text for a cell of a table: no markup, one line."""
    return Text(escaped(text or ""))


def print_json(fields: Mapping[str, object]) -> None:
    """Print an object as one line of JSON. What a terminal obeys is escaped, and means the same to a reader of JSON."""
    text = json.dumps(fields, default=str, ensure_ascii=False)
    click.echo("".join(char if escaped(char) == char else json.dumps(char)[1:-1] for char in text))


def confirm(question: str) -> None:
    """Ask, and end the command unless the answer is yes."""
    click.confirm(_lines(question), abort=True, err=True)


def _lines(text: str) -> str:
    return "\n".join(map(escaped, text.split("\n")))


@contextmanager
def step(name: str) -> Iterator[None]:
    """Show the name of a step while it runs, then its duration."""
    started = time.monotonic()
    with progress_console.status(f"{name} …"):
        yield
    progress_console.print(f"[green]✓[/green] {name} [dim]({time.monotonic() - started:.1f} s)[/dim]")


def fail(message: str) -> SystemExit:
    """Print an error message; return the exception that ends the command with exit code 1."""
    progress_console.print(f"[bold red]Error:[/bold red] {_escape(_lines(message))}")
    sys.stdout.flush()
    return SystemExit(1)


def fail_settings(error: SettingsError) -> SystemExit:
    """Say which setting has a mistake, to a person or to a log; return what ends the command with exit code 2."""
    if sys.stderr.isatty():
        fail(str(error))
    else:
        report_settings(error, "cell-monitor")
    return SystemExit(BAD_SETTINGS)


def _escape(text: str) -> str:
    from rich.markup import escape  # noqa: PLC0415 - needed for errors only

    return escape(text)
