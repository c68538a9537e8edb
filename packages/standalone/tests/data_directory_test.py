"""Hazards: a secret that others can read or that changes, two processes on one data directory."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cell_monitor.data_directory import DataDirectory, DataDirectoryError, Instance


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path / "data")
    directory.prepare()
    return directory


INSTANCE = Instance(
    pid=1,
    dashboard="http://127.0.0.1:1",
    api="http://127.0.0.1:1",
    gateway="ws://127.0.0.1:2/ws",
    worker="http://127.0.0.1:3",
    jupyterlab=None,
    postgres_port=4,
    valkey_port=5,
)


def test_secret_is_created_once_and_readable_by_its_owner_only(data: DataDirectory) -> None:
    first = data.secrets.get("thing")
    assert data.secrets.get("thing") == first
    assert len(first) >= 24
    assert stat.S_IMODE((data.secrets.path / "thing").stat().st_mode) == 0o600
    assert stat.S_IMODE(data.secrets.path.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o1777, 0o755, 0o700])
def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(mode)
    DataDirectory(folder).prepare()
    assert stat.S_IMODE(folder.stat().st_mode) == mode | 0o111


def test_what_is_no_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "file"
    other.touch(mode=0o666)
    before = other.stat().st_mode
    with pytest.raises(DataDirectoryError, match="it is not a folder"):
        DataDirectory(other).prepare()
    assert other.stat().st_mode == before


def test_an_interrupted_write_leaves_the_old_secret(data: DataDirectory) -> None:
    data.secrets.put("thing", "old")
    (data.secrets.path / "thing.partial").write_text("half")
    assert data.secrets.get("thing") == "old"
    data.secrets.put("thing", "new")
    assert data.secrets.get("thing") == "new"


def test_second_process_gets_the_pid_of_the_holder_and_what_to_do(data: DataDirectory) -> None:
    code = (
        f"import sys, pathlib; from cell_monitor.data_directory import DataDirectory\n"
        f"with DataDirectory(pathlib.Path({str(data.path)!r})).locked():\n"
        f"    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DataDirectoryError, match=rf"process {holder.pid}.*--data-dir"), data.locked():
            pass
        holder.kill()
    with data.locked():
        pass


def test_addresses_of_a_killed_installation_are_ignored(data: DataDirectory) -> None:
    data.announce(INSTANCE)
    assert data.running_instance() is None
    with data.locked():
        assert data.running_instance() == INSTANCE
    data.withdraw()
    with data.locked():
        assert data.running_instance() is None


def test_directory_that_cannot_be_created_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match="--data-dir or CELL_MONITOR_DATA_DIR"):
        DataDirectory(tmp_path / "file" / "data").prepare()
