"""Hazard: a pinned version cannot be installed with a Python that the project says it supports."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]


def test_every_pinned_version_supports_the_oldest_python_of_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "packages/core/pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    pins = dict(
        re.findall(r"^([\w.-]+)==(\S+)$", (REPOSITORY / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    installed = {canonicalize_name(each.metadata["Name"]): each for each in metadata.distributions()}
    pinned = {
        name: installed[canonicalize_name(name)]
        for name, version in pins.items()
        if canonicalize_name(name) in installed and installed[canonicalize_name(name)].version == version
    }
    assert len(pinned) > len(pins) * 0.9, "run make install: the environment is not what constraints.txt pins"
    too_new = {
        f"{name} {each.version}": each.metadata["Requires-Python"]
        for name, each in pinned.items()
        if not SpecifierSet(each.metadata["Requires-Python"] or "").contains(oldest)
    }
    assert too_new == {}
