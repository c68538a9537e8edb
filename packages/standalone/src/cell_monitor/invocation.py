"""Command lines for messages, in a form that works when they are copied into the terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

__all__ = ["DEFAULT_DATA_DIR", "command_line"]

DEFAULT_DATA_DIR: Final = "~/.local/share/cell-monitor"
_PROGRAM: Final = "cell-monitor"


def command_line(*arguments: str, data_dir: Path | None = None) -> str:
    """Return a ``cell-monitor`` command line that works in the folder in which this command was started.

    Args:
        arguments: the arguments after the program's name.
        data_dir: the data directory in use; added as an option unless it is the default.
    """
    program = _program()
    if data_dir is not None and not _is_default(data_dir):
        folder = data_dir.absolute()
        # A relative path of the program works in this folder only, so the data directory may be relative as well.
        if os.sep in program and not Path(program).is_absolute() and folder.is_relative_to(Path.cwd()):
            folder = folder.relative_to(Path.cwd())
        arguments = (*arguments, "--data-dir", str(folder))
    return shlex.join([program, *arguments])


def _program() -> str:
    invoked = Path(sys.argv[0])
    if invoked.name != _PROGRAM:
        # Started as a module: use the program in the same folder as this Python.
        invoked = Path(sys.executable).with_name(_PROGRAM)
    found = shutil.which(_PROGRAM)
    if not invoked.exists() or (found is not None and Path(found).samefile(invoked)):
        return _PROGRAM
    return str(invoked) if os.sep in str(invoked) else f".{os.sep}{invoked}"


def _is_default(folder: Path) -> bool:
    # A variable that is set in this terminal may not be set in the next one.
    return folder.absolute() == Path(DEFAULT_DATA_DIR).expanduser() and not os.environ.get("CELL_MONITOR_DATA_DIR")
