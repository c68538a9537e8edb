"""The ``cell-monitor`` command."""

from __future__ import annotations

from importlib import metadata

import click

from cell_monitor.commands.admin import admin
from cell_monitor.commands.rebuild import rebuild
from cell_monitor.commands.sign_in_link import sign_in_link
from cell_monitor.commands.simulate import simulate
from cell_monitor.commands.status import status
from cell_monitor.commands.up import up

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(metadata.version("cell-monitor"), message="cell-monitor %(version)s")
def main() -> None:
    """See, within a second, who in your class is stuck, on which cell, and who asks for help.

    \b
    First steps:
      cell-monitor up            start everything on this machine; prints a link for the instructor and one for a student
      cell-monitor simulate      play a class of 30 for five minutes, in a second terminal
      cell-monitor status        is everything well?
      cell-monitor sign-in-link  another link that signs the instructor in once

    \b
    A course of your own:
      cell-monitor admin create-course physics-1 "Physics 1"
      cell-monitor admin add-member physics-1 sato --role instructor --display-name "佐藤 葵"
      cell-monitor sign-in-link sato
    """  # noqa: D301 - click's own mark


for command in (up, simulate, sign_in_link, rebuild, admin, status):
    main.add_command(command)
