"""Hazard: a schema changes, a file made from it does not, and nobody notices."""

import sys

import pytest

from cell_monitor_testing.generation import __main__ as command
from cell_monitor_testing.generation.files import GENERATED, REPOSITORY, GeneratedFile
from cell_monitor_testing.generation.pages import replace_sections


@pytest.fixture
def repository(tmp_path, monkeypatch):
    files = (
        GeneratedFile("whole.py", lambda _: "VERSION = 2\n"),
        GeneratedFile("page.md", lambda page: replace_sections(page, {"types": lambda: "- two"})),
    )
    (tmp_path / "page.md").write_text("# By hand\n\n<!-- begin types -->\n- one\n<!-- end types -->\n")
    (tmp_path / "whole.py").write_text("VERSION = 1\n")
    monkeypatch.setattr(command, "GENERATED", files)
    monkeypatch.setattr(command, "REPOSITORY", tmp_path)
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["generation", *arguments])
    return command.main()


def test_check_fails_names_every_stale_file_and_says_what_to_run(repository, monkeypatch, capsys):
    assert run(monkeypatch, "--check") == 1
    said = capsys.readouterr().err
    assert "whole.py, page.md" in said
    assert "-VERSION = 1" in said
    assert "+VERSION = 2" in said
    assert "make generate" in said
    assert (repository / "whole.py").read_text() == "VERSION = 1\n"


def test_written_files_pass_the_check_and_keep_what_is_written_by_hand(repository, monkeypatch):
    assert run(monkeypatch) == 0
    assert (repository / "page.md").read_text() == "# By hand\n\n<!-- begin types -->\n- two\n<!-- end types -->\n"
    assert run(monkeypatch, "--check") == 0


def test_a_missing_file_is_stale(repository, monkeypatch):
    assert run(monkeypatch) == 0
    (repository / "whole.py").unlink()
    assert run(monkeypatch, "--check") == 1


def test_a_section_without_a_place_is_an_error_and_not_left_out():
    with pytest.raises(ValueError, match="types"):
        replace_sections("# No place for it\n", {"types": lambda: "- one"})


def test_the_generated_files_exist():
    assert all((REPOSITORY / file.path).is_file() for file in GENERATED)
