"""Hazard: a command in a message does not work when it is copied into the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from cell_monitor.invocation import command_line


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone as the current folder, whose virtual environment is not on the PATH."""
    program = tmp_path / ".venv" / "bin" / "cell-monitor"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("CELL_MONITOR_DATA_DIR", raising=False)
    monkeypatch.setattr("sys.argv", [".venv/bin/cell-monitor", "up"])
    return tmp_path


def test_command_started_by_make_has_relative_paths_of_program_and_data(checkout: Path) -> None:
    assert command_line("simulate", data_dir=checkout / "var") == ".venv/bin/cell-monitor simulate --data-dir var"


def test_data_outside_the_folder_has_an_absolute_quoted_path(checkout: Path) -> None:
    assert command_line("status", data_dir=Path("/srv/class b")).endswith(" status --data-dir '/srv/class b'")


def test_program_on_the_path_has_its_name_and_absolute_data_path(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = checkout / ".venv" / "bin" / "cell-monitor"
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr("sys.argv", [str(program)])
    assert command_line("simulate", data_dir=checkout / "var") == f"cell-monitor simulate --data-dir {checkout}/var"


def test_another_program_of_that_name_on_the_path_is_not_used(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = checkout / "other" / "cell-monitor"
    other.parent.mkdir()
    other.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    assert command_line("simulate") == ".venv/bin/cell-monitor simulate"


def test_default_data_directory_is_omitted_unless_a_variable_sets_another(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = Path("~/.local/share/cell-monitor").expanduser()
    assert command_line("status", data_dir=default) == ".venv/bin/cell-monitor status"
    monkeypatch.setenv("CELL_MONITOR_DATA_DIR", "/elsewhere")
    assert command_line("status", data_dir=default).endswith(f"--data-dir {default}")
