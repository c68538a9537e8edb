"""Hazard: the extension's metadata names other JupyterLab versions than those in which it is tested."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

from cell_monitor_testing.jupyter_hosts import Host, load_hosts

PACKAGE = Path(__file__).parent.parent
MANIFEST = json.loads((PACKAGE / "package.json").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
PINNED = [host for host in load_hosts() if host.packages]


def oldest(range_: str) -> Version:
    """Return the oldest version of a range such as ^4.2.0, which ends before the next major version."""
    assert range_.startswith("^"), range_
    return Version(range_[1:])


def test_every_jupyterlab_module_is_the_page_s_own_in_the_versions_that_package_json_names() -> None:
    modules = {name: range_ for name, range_ in MANIFEST["dependencies"].items() if name.startswith("@jupyterlab/")}
    shared = {name: options for name, options in MANIFEST["jupyterlab"]["sharedPackages"].items() if name in modules}
    assert shared == {
        name: {"bundled": False, "singleton": True, "requiredVersion": range_} for name, range_ in modules.items()
    }


def test_the_oldest_supported_jupyterlab_is_tested() -> None:
    tested = min(Version(host.version_of("jupyterlab") or "") for host in PINNED)
    assert tested.release[:2] == oldest(MANIFEST["dependencies"]["@jupyterlab/notebook"]).release[:2]


@pytest.mark.parametrize("host", load_hosts(), ids=lambda host: host.name)
def test_each_row_of_the_table_names_files_of_tests_and_versions_that_are_pinned(host: Host) -> None:
    folder = PACKAGE / "tests/hosts"
    assert host.tests
    assert [name for name in host.tests if not (folder / f"{name}_test.py").is_file()] == []
    if host.packages:
        pins = host.constraints.read_text(encoding="utf-8").splitlines()
        assert [
            package for package in host.packages if package not in pins and package.replace("-", "_") not in pins
        ] == []
        assert [line for line in pins if not re.fullmatch(r"#.*|[\w.\[\]-]+==[\w.+!]+", line)] == []


def test_every_file_of_tests_is_run_in_a_host_of_ci() -> None:
    files = {path.name.removesuffix("_test.py") for path in (PACKAGE / "tests/hosts").glob("*_test.py")}
    assert files == {name for host in load_hosts() if host.ci for name in host.tests}


def test_the_readme_and_the_classifiers_name_the_tested_versions() -> None:
    for host in PINNED:
        for package in ("jupyterlab", "notebook", "ipykernel"):
            version = host.version_of(package)
            if version is not None:
                short = ".".join(version.split(".")[: 1 if package == "ipykernel" else 2])
                assert re.search(rf"\b{re.escape(short)}\b", README), f"{package} {short}"
    assert "Framework :: Jupyter :: JupyterLab :: 4" in PROJECT["classifiers"]
