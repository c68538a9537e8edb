"""Hazard: root runs a copy of PostgreSQL that is incomplete, outdated, or was put there by somebody else."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cell_monitor.embedded import program_copy
from cell_monitor.embedded.process import EmbeddedServerError
from cell_monitor.embedded.program_copy import ProgramCopy

PROGRAM = Path("package/bin/server")
LIBRARY = Path("package.libs/libserver.so")
TEXT = Path("package/share/words.txt")


def _runs(folder: Path) -> str | None:
    """The programs of these tests run if their library is there."""
    return None if (folder / LIBRARY).is_file() else f"{folder / PROGRAM}: {LIBRARY.name} not found"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    for path, mode in ((PROGRAM, 0o700), (LIBRARY, 0o700), (TEXT, 0o600)):
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(f"content of {path.name}")
        (site / path).chmod(mode)
    return site


@pytest.fixture
def copy(tmp_path: Path, installed: Path) -> ProgramCopy:
    return _copy_of(installed, tmp_path / "home")


def _copy_of(installed: Path, home: Path, failure: Callable[[Path], str | None] = _runs) -> ProgramCopy:
    files = {path: installed / path for path in (PROGRAM, LIBRARY, TEXT)}
    return ProgramCopy(home=home, name="server-1", files=files, failure=failure)


def _assert_whole(copy: ProgramCopy) -> None:
    found = {path.relative_to(copy.path): path for path in copy.path.rglob("*") if not path.is_dir()}
    assert {path: file.read_text() for path, file in found.items()} == {
        PROGRAM: "content of server",
        LIBRARY: "content of libserver.so",
        TEXT: "content of words.txt",
    }
    assert not any(file.is_symlink() for file in found.values())
    assert {path: stat.S_IMODE(file.stat().st_mode) for path, file in found.items()} == {
        PROGRAM: 0o755,
        LIBRARY: 0o755,
        TEXT: 0o644,
    }
    folders = [copy.home, copy.path, *(path for path in copy.path.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o755}
    assert {path.stat().st_uid for path in (*folders, *found.values())} == {os.geteuid()}
    assert [path.name for path in copy.home.iterdir() if not path.name.startswith(".")] == ["server-1"]


def test_every_account_can_read_and_run_a_copy_made_under_a_private_umask(copy: ProgramCopy) -> None:
    before = os.umask(0o077)
    try:
        assert copy.ensure() == copy.home / "server-1"
    finally:
        os.umask(before)
    _assert_whole(copy)


def test_an_intact_copy_is_used_as_it_is(copy: ProgramCopy) -> None:
    copy.ensure()
    made = (copy.path / PROGRAM).stat().st_ino
    copy.ensure()
    assert (copy.path / PROGRAM).stat().st_ino == made


def _without_its_libraries(copy: Path) -> None:
    """What version 0.1 left: the installation alone, under the same name."""
    shutil.rmtree(copy)
    shutil.copytree(copy.parents[1] / "site" / "package", copy)


def _with_a_file_of_another_version(copy: Path) -> None:
    (copy / LIBRARY).write_text("Content of libserver.so")  # as long as the right one


def _as_a_link_to_another_folder(copy: Path) -> None:
    other = copy.parents[1] / "other"
    copy.rename(other)
    copy.symlink_to(other)


def _with_a_link_for_a_file(copy: Path) -> None:
    (copy / PROGRAM).unlink()
    (copy / PROGRAM).symlink_to(copy.parents[1] / "site" / PROGRAM)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "made by version 0.1 without the libraries": _without_its_libraries,
    "empty": lambda copy: [shutil.rmtree(copy), copy.mkdir()],
    "a file": lambda copy: [shutil.rmtree(copy), copy.write_text("")],
    "a link to another folder": _as_a_link_to_another_folder,
    "a link to nothing": lambda copy: [shutil.rmtree(copy), copy.symlink_to("nothing")],
    "a file missing": lambda copy: (copy / TEXT).unlink(),
    "a library missing": lambda copy: (copy / LIBRARY).unlink(),
    "a file cut off": lambda copy: os.truncate(copy / TEXT, 3),
    "a file of another version": _with_a_file_of_another_version,
    "a file too many": lambda copy: (copy / LIBRARY.parent / "libc.so.6").write_text("not ours"),
    "a folder too many": lambda copy: (copy / "package" / "lib").mkdir(),
    "a link for a file": _with_a_link_for_a_file,
    "a program not executable": lambda copy: (copy / PROGRAM).chmod(0o644),
    "a file that others cannot read": lambda copy: (copy / TEXT).chmod(0o600),
    "a folder that others cannot enter": lambda copy: (copy / LIBRARY.parent).chmod(0o700),
    "a file that others can change": lambda copy: (copy / TEXT).chmod(0o666),
    "a folder that others can change": lambda copy: (copy / LIBRARY.parent).chmod(0o777),
    "a copy that its group can change": lambda copy: copy.chmod(0o775),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_copy_that_is_not_exactly_ours_is_replaced(copy: ProgramCopy, damage: Callable[[Path], object]) -> None:
    copy.ensure()
    damage(copy.path)
    copy.ensure()
    _assert_whole(copy)


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("path", [Path(), PROGRAM, LIBRARY.parent])
def test_a_copy_of_another_account_is_not_run(copy: ProgramCopy, path: Path) -> None:
    copy.ensure()
    os.chown(copy.path / path, 65534, -1)
    copy.ensure()
    _assert_whole(copy)


@pytest.mark.usefixtures("root")
def test_a_home_of_another_account_is_refused(copy: ProgramCopy) -> None:
    copy.home.mkdir()
    os.chown(copy.home, 65534, -1)
    with pytest.raises(EmbeddedServerError, match=rf"belongs to another account.*chown root {copy.home}"):
        copy.ensure()


def test_a_home_that_others_can_change_is_refused(copy: ProgramCopy) -> None:
    copy.home.mkdir()
    copy.home.chmod(0o777)
    with pytest.raises(EmbeddedServerError, match=rf"changed by others.*chmod 755 {copy.home}"):
        copy.ensure()


def test_an_interrupted_copy_is_made_again(copy: ProgramCopy) -> None:
    (copy.home / "server-1.partial" / "package").mkdir(parents=True)
    copy.home.chmod(0o755)
    copy.ensure()
    _assert_whole(copy)


def test_a_copy_that_does_not_run_is_never_put_in_place(tmp_path: Path, installed: Path) -> None:
    refused = _copy_of(installed, tmp_path / "home", failure=lambda folder: f"{folder.name}: Permission denied")
    with pytest.raises(EmbeddedServerError, match=r"(?s)do not run: server-1.partial: Permission denied.*noexec"):
        refused.ensure()
    assert [path.name for path in refused.home.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, r"disk is full: free 1 MB"),
        (errno.EDQUOT, r"quota is used up: free 1 MB"),
        (errno.EROFS, r"read-only file system: mount it writable"),
        (errno.EACCES, r"permission denied: give root the right to write"),
    ],
)
def test_a_copy_that_cannot_be_written_says_what_to_do(
    copy: ProgramCopy, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    def fails(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(program_copy.shutil, "copyfile", fails)
    with pytest.raises(EmbeddedServerError, match=rf"{copy.home} cannot be used: .*{advice}"):
        copy.ensure()
    assert [path.name for path in copy.home.iterdir()] == [".lock"]


def test_processes_that_start_together_make_one_copy(tmp_path: Path, installed: Path) -> None:
    # Threads stand for processes: the lock belongs to the opened file, which each of them opens for itself.
    home = tmp_path / "home"
    start = threading.Barrier(6)
    checked: list[str] = []

    def failure(folder: Path) -> str | None:
        checked.append(folder.name)
        return _runs(folder)

    def ensure(_: int) -> Path:
        copy = _copy_of(installed, home, failure)
        start.wait(30)
        return copy.ensure()

    with ThreadPoolExecutor(6) as starters:
        found = set(starters.map(ensure, range(6)))
    assert found == {home / "server-1"}
    assert checked.count("server-1.partial") == 1
    _assert_whole(_copy_of(installed, home))
