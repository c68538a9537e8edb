"""Hazard: the developers' page on architecture names files that moved, and counts that are no longer true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/dev/architecture.md").read_text(encoding="utf-8")
CORE = "packages/core/src/cell_monitor_core"
FOLDERS = {
    "browser": ["packages/jupyterlab-cell-monitor/src"],
    "Jupyter Server": ["packages/jupyterlab-cell-monitor/jupyterlab_cell_monitor"],
    "API": ["services/api/src/cell_monitor_api", CORE],
    "worker": ["services/worker/src/cell_monitor_worker", CORE],
    "gateway": ["services/ws-gateway/src/cell_monitor_gateway", CORE],
    "dashboard": ["dashboard/src"],
}


def walk() -> dict[str, tuple[list[str], list[str]]]:
    """Return process → (files on the path, files called by them), as the page's table lists them."""
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| ") and "→" in line]
    return {
        process.strip(): (re.findall(r"`([^`]+)`", path), re.findall(r"`([^`]+)`", called))
        for process, path, called in rows
    }


def exists(process: str, name: str) -> bool:
    return any(
        (ROOT / folder / f"{name}{suffix}").is_file()
        for folder in FOLDERS[process]
        for suffix in (".py", ".ts", ".tsx")
    )


def test_every_process_has_a_row() -> None:
    assert list(walk()) == list(FOLDERS)


@pytest.mark.parametrize("process", FOLDERS)
def test_the_files_of_the_path_exist(process: str) -> None:
    path, called = walk()[process]
    assert [name for name in path + called if not exists(process, name)] == []


def test_the_counts_are_true() -> None:
    lengths = [len(path) for path, _ in walk().values()]
    (stated,) = re.findall(r": (\d+) files, at most ten in a\nprocess", PAGE)
    assert sum(lengths) == int(stated)
    assert max(lengths) <= 10


def test_the_files_and_folders_of_the_instructions_exist() -> None:
    instructions = PAGE.partition("## How to add")[2]
    named = [name for name in re.findall(r"`([\w./-]+/[\w./-]*)`", instructions) if not name.startswith("capture")]
    assert named
    missing = []
    for name in named:
        path = f"{CORE}/{name.removeprefix('core/')}" if name.startswith("core/") else name
        path = path.replace("app/router.tsx", "dashboard/src/app/router.tsx") if name.startswith("app/") else path
        if not (ROOT / path).exists():
            missing.append(name)
    assert missing == []
