"""The pytest plugin of tests that run in several Jupyter installations: the option ``--host`` and the parameter ``host``."""

from __future__ import annotations

from pathlib import Path

import pytest

from cell_monitor_testing.jupyter_hosts import chosen_hosts

__all__ = ["pytest_addoption", "pytest_generate_tests"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--host``."""
    parser.addoption("--host", action="append", default=[], help="a host of hosts.toml, or all; none: those of CI")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test in the chosen hosts whose row, in the table of its folder, names its file.

    The tests of one host are a group of pytest-xdist: one process runs them, which starts that host once.
    """
    file = Path(metafunc.module.__file__ or "")
    if "host" in metafunc.fixturenames and (file.parent / "hosts.toml").exists():
        subject = file.stem.removesuffix("_test")
        chosen = chosen_hosts(metafunc.config.getoption("--host"))
        hosts = [host for host in chosen if host.folder == file.parent and subject in host.tests]
        rows = [pytest.param(host, id=host.name, marks=pytest.mark.xdist_group(host.name)) for host in hosts]
        metafunc.parametrize("host", rows, scope="session")
