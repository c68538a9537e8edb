"""What ``up`` says to the person at the terminal, with an installation that only pretends to start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cell_monitor.commands import up as module
from cell_monitor.commands.up import up
from cell_monitor.installation import Addresses, UpOptions
from cell_monitor.supervisor import StopRequested


class Pretended:
    """Stands in for ``Installation``."""

    def __init__(self, _data: Any, options: UpOptions, **_: Any) -> None:
        self._options = options

    def start(self) -> Addresses:
        url = self._options.listening.dashboard_url(self._options.ports)
        return Addresses(url, url, "ws://g/ws", None, "instructor", "password")

    def watch(self) -> None:
        raise StopRequested

    def stop(self) -> None:
        pass


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(module, "Installation", Pretended)

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(up, ["--data-dir", str(tmp_path / "data"), *arguments])
        assert result.exit_code == 0, result.output
        return result

    return run


def _words(result: Result) -> str:
    return " ".join(result.stderr.split())


def test_passwords_in_plain_text_on_a_network_are_warned_of_with_what_to_do_instead(run: Any) -> None:
    words = _words(run("--host", "0.0.0.0", "--name", "lab-pc"))
    assert "without encryption: passwords" in words
    assert "reverse proxy with TLS in front, with --public-url" in words
    assert "Whoever has JupyterLab's address with its token runs programs here as you" in words
    # Scripts must not lose the warning, nor find it in their line.
    as_json = run("--host", "0.0.0.0", "--json")
    assert "without encryption" in _words(as_json)
    assert "without encryption" not in as_json.stdout


@pytest.mark.parametrize("arguments", [(), ("--host", "127.0.0.2"), ("--public-url", "https://monitor.example.org")])
def test_nobody_is_warned_of_what_stays_on_this_machine_or_is_encrypted(run: Any, arguments: tuple[str, ...]) -> None:
    assert "without encryption" not in _words(run(*arguments))


def test_what_make_up_prints_names_the_data_directory_that_make_gave(run: Any, tmp_path: Path) -> None:
    assert f"simulate --data-dir {tmp_path / 'data'}" in _words(run())


def test_setting_without_effect_is_said(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELL_MONITOR_GATEWAY_URL", "wss://elsewhere/ws")
    assert "CELL_MONITOR_GATEWAY_URL has no effect on `up`: use --name or --public-url." in _words(run())
