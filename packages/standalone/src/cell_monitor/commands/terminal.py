"""Output of the commands: progress and messages on standard error, results on standard output."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console

__all__ = ["DATA_DIR_OPTION", "fail", "progress_console", "say", "step"]

progress_console = Console(stderr=True, highlight=False, soft_wrap=True)

DATA_DIR_OPTION = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=str),
    envvar="CELL_MONITOR_DATA_DIR",
    default=None,
    help="Folder of all data; the default is ~/.local/share/cell-monitor. [env: CELL_MONITOR_DATA_DIR]",
)


def say(line: str) -> None:
    """Print one line of progress."""
    progress_console.print(line, markup=False)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Show the name of a step while it runs, then its duration."""
    started = time.monotonic()
    with progress_console.status(f"{name} …"):
        yield
    progress_console.print(f"[green]✓[/green] {name} [dim]({time.monotonic() - started:.1f} s)[/dim]")


def fail(message: str) -> SystemExit:
    """Print an error message; return the exception that ends the command with exit code 1."""
    progress_console.print(f"[bold red]Error:[/bold red] {_escape(message)}")
    sys.stdout.flush()
    return SystemExit(1)


def _escape(text: str) -> str:
    from rich.markup import escape  # noqa: PLC0415 - needed for errors only

    return escape(text)
