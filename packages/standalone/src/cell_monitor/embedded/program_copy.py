"""A copy of installed programs that every account of the machine can run, made and kept by root.

A copy is used only if it belongs to root, nobody else can change it, each of its files equals the installed one, and
its programs run. Any other copy of that name is replaced: one that was interrupted, that lacks a file, that is of
another version, or that earlier versions of this module made without the programs' libraries.
"""

from __future__ import annotations

import errno
import fcntl
import filecmp
import os
import shlex
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cell_monitor.embedded.process import EmbeddedServerError

__all__ = ["ProgramCopy"]

_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_LOCK: Final = ".lock"
_REASONS: Final = {
    errno.ENOSPC: "the disk is full: free {megabytes} MB there",
    errno.EDQUOT: "the disk quota is used up: free {megabytes} MB there",
    errno.EROFS: "it is on a read-only file system: mount it writable",
    errno.EACCES: "permission denied: give root the right to write there",
    errno.EPERM: "not permitted: give root the right to write there",
}


@dataclass(frozen=True, slots=True)
class ProgramCopy:
    """One copy: ``<home>/<name>``.

    Attributes:
        home: folder of the copies. It is made if missing.
        name: of the copy's folder.
        files: path in the copy → installed file. Links are followed: a copy consists of folders and files only.
        failure: returns why the programs below a folder do not run, None if they do.
    """

    home: Path
    name: str
    files: Mapping[Path, Path]
    failure: Callable[[Path], str | None]

    @property
    def path(self) -> Path:
        """Folder of the copy."""
        return self.home / self.name

    def ensure(self) -> Path:
        """Return the copy's folder, after making or replacing the copy where needed.

        Processes that do this at the same time wait for each other. A server that runs from a replaced copy goes on:
        what it has mapped stays, and what it opens later is found in the new copy under the same path.

        Raises:
            EmbeddedServerError: no copy can be made, or its programs do not run.
        """
        try:
            self._prepare_home()
            with self._locked():
                if not self._intact():
                    self._replace()
        except OSError as error:
            place = error.filename or self.home
            raise EmbeddedServerError(f"{place} cannot be used: {self._reason(error)}.") from error
        return self.path

    def _prepare_home(self) -> None:
        try:
            self.home.mkdir(parents=True)
        except FileExistsError:
            pass
        else:
            self.home.chmod(0o755)  # whatever the umask
        status = self.home.stat()
        if status.st_uid != os.geteuid() or status.st_mode & _WRITABLE_BY_OTHERS:
            raise EmbeddedServerError(
                f"{self.home} holds programs that are run for root, but it belongs to another account or can be changed "
                f"by others. Look at what is in it, then: chown root {shlex.quote(str(self.home))} && chmod 755 {shlex.quote(str(self.home))}"
            )
        if not status.st_mode & stat.S_IXOTH:
            self.home.chmod(0o755)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Mode 0600: a lock that every account may open is one that every account may hold.
        descriptor = os.open(self.home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _intact(self) -> bool:
        try:
            return self._trusted() and self._complete() and self.failure(self.path) is None
        except OSError:
            return False

    def _trusted(self) -> bool:
        """Return whether all of it is ours, and is folders and files that nobody else can change."""
        for path in (self.path, *_below(self.path)):
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
                return False
            if status.st_uid != os.geteuid() or status.st_mode & _WRITABLE_BY_OTHERS:
                return False
        return True

    def _complete(self) -> bool:
        """Return whether it has exactly the wanted files, with their content and permissions."""
        expected_folders = {folder for path in self.files for folder in path.parents if folder != Path()}
        present = {path.relative_to(self.path): path.stat() for path in _below(self.path)}
        if set(present) != expected_folders | set(self.files):
            return False
        return all(
            stat.S_IMODE(status.st_mode) == 0o755
            if path in expected_folders
            else stat.S_IMODE(status.st_mode) == _mode(self.files[path])
            and filecmp.cmp(self.files[path], self.path / path, shallow=False)
            for path, status in present.items()
        )

    def _replace(self) -> None:
        partial = self.home / f"{self.name}.partial"
        replaced = self.home / f"{self.name}.replaced"
        for left_over in (partial, replaced):
            _remove(left_over)
        try:
            self._copy_to(partial)
            # Before it is put in place: nobody may find a copy that does not run.
            if (failure := self.failure(partial)) is not None:
                raise EmbeddedServerError(
                    f"The programs copied to {self.home} do not run: {failure}\n"
                    "If that file system is mounted `noexec`, mount it with `exec`."
                )
            with suppress(FileNotFoundError):
                self.path.rename(replaced)
            try:
                partial.rename(self.path)
            except OSError:
                with suppress(FileNotFoundError):
                    replaced.rename(self.path)
                raise
        finally:
            for left_over in (partial, replaced):
                _remove(left_over)

    def _copy_to(self, target: Path) -> None:
        _make_folder(target)
        made = {Path()}
        for path, source in sorted(self.files.items()):
            for folder in reversed(path.parents):
                if folder not in made:
                    _make_folder(target / folder)
                    made.add(folder)
            shutil.copyfile(source, target / path)
            (target / path).chmod(_mode(source))

    def _reason(self, error: OSError) -> str:
        megabytes = sum(source.stat().st_size for source in self.files.values()) // 1_000_000 + 1
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        return reason.format(megabytes=megabytes)


def _below(folder: Path) -> Iterator[Path]:
    """Yield every entry below a folder, without following links.

    Raises:
        OSError: one of the folders cannot be read.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            yield path
            if entry.is_dir(follow_symlinks=False):
                yield from _below(path)


def _mode(source: Path) -> int:
    return 0o755 if source.stat().st_mode & stat.S_IXUSR else 0o644


def _make_folder(path: Path) -> None:
    path.mkdir()
    path.chmod(0o755)  # whatever the umask


def _remove(path: Path) -> None:
    """Remove a folder tree, a file or a link; no error if there is none or it cannot be removed."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
