"""The Jupyter installations ("hosts") of the tests, each a virtual environment below ``build/hosts``.

Two tables name them: the JupyterLab versions of the extension's tests, and the JupyterHub versions of ``tests/hub``.

``python -m cell_monitor_testing.jupyter_hosts prepare [NAME …]`` makes them and installs the extension's wheel into each;
``pin NAME`` writes the versions of one as its constraints.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["HOSTS_FOLDER", "HUB_FOLDER", "Host", "chosen_hosts", "load_hosts", "prepare"]

_REPOSITORY: Final = Path(__file__).parents[4]
_EXTENSION: Final = _REPOSITORY / "packages/jupyterlab-cell-monitor"
_BUILD: Final = _REPOSITORY / "build/hosts"

HOSTS_FOLDER: Final = _EXTENSION / "tests/hosts"
"""The folder of the table of JupyterLab versions, their constraints and their tests."""
HUB_FOLDER: Final = _REPOSITORY / "tests/hub"
"""The same of JupyterHub versions."""

_NOT_PINNED: Final = frozenset({"pip", "setuptools", "wheel", "jupyterlab-cell-monitor", "jupyterlab_cell_monitor"})


@dataclass(frozen=True, slots=True)
class Host:
    """One row of ``hosts.toml``.

    Attributes:
        name: the row's name.
        packages: requirements with exact versions; empty for the environment that runs the tests.
        tests: names of the test files, without ``_test.py``, that are run in it.
        ci: whether it is one of those that are tested by default.
        folder: of the table, the constraints and the tests.
    """

    name: str
    packages: tuple[str, ...]
    tests: tuple[str, ...]
    ci: bool
    folder: Path

    @property
    def python(self) -> str:
        """The interpreter of its environment."""
        return str(_BUILD / self.name / "bin/python") if self.packages else sys.executable

    @property
    def constraints(self) -> Path:
        """The file that pins everything in its environment."""
        return self.folder / "constraints" / f"{self.name}.txt"

    def version_of(self, package: str) -> str | None:
        """The exact version of one of ``packages``, or None if it is not one of them."""
        for requirement in self.packages:
            name, _, version = requirement.partition("==")
            if name == package:
                return version
        return None


def load_hosts(folder: Path = HOSTS_FOLDER) -> list[Host]:
    """Return the rows of a folder's ``hosts.toml``, in its order.

    Raises:
        KeyError: a row has no ``packages`` or ``tests``.
    """
    rows = tomllib.loads((folder / "hosts.toml").read_text(encoding="utf-8"))
    return [
        Host(name, tuple(row["packages"]), tuple(row["tests"]), bool(row.get("ci", False)), folder)
        for name, row in rows.items()
    ]


def chosen_hosts(names: Iterable[str]) -> list[Host]:
    """Return the hosts of these names; those of CI for no name, all for ``all``.

    Raises:
        ValueError: there is no host of a name.
    """
    hosts = {host.name: host for folder in (HOSTS_FOLDER, HUB_FOLDER) for host in load_hosts(folder)}
    wanted = list(names)
    if wanted == ["all"]:
        return list(hosts.values())
    unknown = [name for name in wanted if name not in hosts]
    if unknown:
        raise ValueError(f"There is no host {', '.join(unknown)}. The hosts are: {', '.join(hosts)}.")
    return [host for host in hosts.values() if (host.name in wanted if wanted else host.ci)]


def prepare(hosts: Iterable[Host]) -> None:
    """Make the environments that are missing or not as the table says, and install the extension into each.

    Raises:
        subprocess.CalledProcessError: pip, or the build of the wheel, failed; its output was printed.
    """
    wheel: Path | None = None
    for host in hosts:
        if not host.packages:
            continue
        wheel = wheel or _built_wheel()
        _make_environment(host)
        installed = Path(host.python).parents[1] / "extension"
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if not installed.exists() or installed.read_text(encoding="utf-8") != digest:
            print(f"Installing the extension in {host.name}", flush=True)  # noqa: T201
            _pip(host, "install", "-c", str(host.constraints), str(wheel))
            # The version does not change with the sources.
            _pip(host, "install", "--no-deps", "--force-reinstall", str(wheel))
            installed.write_text(digest, encoding="utf-8")


def _make_environment(host: Host) -> None:
    folder = Path(host.python).parents[1]
    wanted = "\n".join(host.packages) + "\n" + host.constraints.read_text(encoding="utf-8")
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    print(f"Making the environment of {host.name}: {', '.join(host.packages)}", flush=True)  # noqa: T201
    _create(folder)
    _pip(host, "install", "-c", str(host.constraints), *host.packages)
    stamp.write_text(wanted, encoding="utf-8")


def _create(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run(sys.executable, "-m", "venv", str(folder))


def _pin(host: Host) -> None:
    """Install the newest versions that the host's packages allow, and write them to its constraints."""
    if not host.packages:
        raise ValueError(f"{host.name} is the environment of this project: `make constraints` pins it.")
    _create(Path(host.python).parents[1])
    # With the extension's own dependencies, which are pinned too.
    _pip(host, "install", *host.packages, str(_built_wheel()))
    frozen = subprocess.run(  # noqa: S603
        [host.python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True
    ).stdout
    pins = [line for line in frozen.splitlines() if "==" in line and line.partition("==")[0] not in _NOT_PINNED]
    head = f"# Exact versions of the host {host.name}. Made by: python -m cell_monitor_testing.jupyter_hosts pin {host.name}"
    host.constraints.parent.mkdir(parents=True, exist_ok=True)
    host.constraints.write_text("\n".join([head, *sorted(pins, key=str.lower)]) + "\n", encoding="utf-8")


def _built_wheel() -> Path:
    """Build the extension's wheel, with the front end that was built before, and return its path."""
    folder = _BUILD / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(_EXTENSION))
    (wheel,) = folder.glob("*.whl")
    return wheel


def _pip(host: Host, *arguments: str) -> None:
    _run(host.python, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments)


def _run(*command: str) -> None:
    # Programs of this environment (jlpm) are found by the build.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(  # noqa: S603
        command,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PATH": path},
    )
    if done.returncode:
        print(done.stdout, flush=True)  # noqa: T201
        done.check_returncode()


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m cell_monitor_testing.jupyter_hosts", description=__doc__)
    parser.add_argument("action", choices=["prepare", "pin", "list"])
    parser.add_argument("names", nargs="*", help="hosts; none for those of CI, `all` for all")
    options = parser.parse_args()
    try:
        hosts = chosen_hosts(options.names)
        if options.action == "prepare":
            prepare(hosts)
        elif options.action == "pin":
            for host in hosts:
                _pin(host)
        else:
            for host in hosts:
                print(f"{host.name}: {', '.join(host.packages) or 'the environment of this project'}")  # noqa: T201
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    _main()
