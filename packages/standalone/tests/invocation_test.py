"""Hazard: a command in a message that does not work when somebody copies it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cell_monitor.invocation import command_line


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout as the current folder, whose virtual environment is not on the PATH."""
    program = tmp_path / ".venv" / "bin" / "cell-monitor"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("CELL_MONITOR_DATA_DIR", raising=False)
    monkeypatch.setattr("sys.argv", [".venv/bin/cell-monitor", "up"])
    return tmp_path


def test_started_by_make_the_command_names_the_program_and_the_data_as_they_lie_here(checkout: Path) -> None:
    assert command_line("simulate", data_dir=checkout / "var") == ".venv/bin/cell-monitor simulate --data-dir var"


def test_data_elsewhere_is_named_whole_and_quoted(checkout: Path) -> None:
    assert command_line("status", data_dir=Path("/srv/class b")).endswith(" status --data-dir '/srv/class b'")


def test_program_on_the_path_is_called_by_its_name_and_works_from_any_folder(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = checkout / ".venv" / "bin" / "cell-monitor"
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr("sys.argv", [str(program)])
    assert command_line("simulate", data_dir=checkout / "var") == f"cell-monitor simulate --data-dir {checkout}/var"


def test_another_program_of_that_name_on_the_path_is_not_taken_for_ours(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = checkout / "other" / "cell-monitor"
    other.parent.mkdir()
    other.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    assert command_line("simulate") == ".venv/bin/cell-monitor simulate"


def test_default_data_directory_is_left_out_unless_a_variable_points_elsewhere(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = Path("~/.local/share/cell-monitor").expanduser()
    assert command_line("status", data_dir=default) == ".venv/bin/cell-monitor status"
    monkeypatch.setenv("CELL_MONITOR_DATA_DIR", "/elsewhere")
    assert command_line("status", data_dir=default).endswith(f"--data-dir {default}")
