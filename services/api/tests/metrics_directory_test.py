"""Hazards: a folder that somebody else made first, read or foresaw; folders of killed runs that fill the disk."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from cell_monitor_api.metrics_directory import MetricsDirectoryError, prepare_metrics_directory

PREPARE = (
    "import sys; from cell_monitor_api.metrics_directory import prepare_metrics_directory as prepare;"
    "print(prepare(), flush=True); sys.stdin.read()"
)


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    yield tmp_path
    monkeypatch.setattr("tempfile.tempdir", None)


@pytest.fixture
def another_run():
    """Start processes that hold a directory until they are killed."""
    running = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", PREPARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
        )
        running.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_the_folder_is_new_each_time_and_for_its_owner_alone(temporary):
    first, second = prepare_metrics_directory(), prepare_metrics_directory()
    assert first != second
    assert {path.parent for path in (first, second)} == {temporary}
    assert stat.S_IMODE(first.stat().st_mode) == 0o700


def test_folder_of_a_killed_run_is_removed_by_the_next_and_that_of_a_working_one_is_kept(temporary, another_run):
    killed, left_behind = another_run()
    _, working = another_run()
    for folder in (left_behind, working):
        (temporary / folder / "counter_1.db").write_bytes(b"x")
    killed.kill()
    killed.wait()
    prepare_metrics_directory()
    assert not (temporary / left_behind).exists()
    assert (temporary / working / "counter_1.db").exists()


def test_folder_that_another_run_is_just_making_is_kept_and_an_old_one_that_was_never_held_is_not(temporary):
    young, old = temporary / "cell-monitor-metrics-young", temporary / "cell-monitor-metrics-old"
    young.mkdir()
    old.mkdir()
    os.utime(old, (0, 0))
    prepare_metrics_directory()
    assert (young.exists(), old.exists()) == (True, False)


def test_a_link_in_the_place_of_a_left_folder_is_not_followed(temporary):
    precious = temporary / "precious"
    precious.mkdir()
    (precious / "counter_1.db").write_bytes(b"x")
    (temporary / "cell-monitor-metrics-trap").symlink_to(precious)
    prepare_metrics_directory()
    assert (precious / "counter_1.db").exists()


def test_named_folder_loses_the_counters_of_an_earlier_run_and_nothing_else(temporary, monkeypatch):
    named = temporary / "named"
    named.mkdir()
    (named / "counter_1.db").write_bytes(b"x")
    (named / "notes.txt").write_text("mine")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(named))
    assert prepare_metrics_directory() == named
    assert [path.name for path in named.iterdir()] == ["notes.txt"]


def test_unusable_folder_is_refused_with_its_name_and_advice(temporary, monkeypatch):
    (temporary / "file").touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(temporary / "file" / "folder"))
    with pytest.raises(MetricsDirectoryError, match=r"file/folder that PROMETHEUS_MULTIPROC_DIR names cannot be used"):
        prepare_metrics_directory()
