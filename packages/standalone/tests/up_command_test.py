"""Hazards: ``up`` does not warn of an unencrypted network; its output cannot be parsed by a script or used by a person."""

from __future__ import annotations

import json
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
        return Addresses(
            dashboard=url,
            api=url,
            pages=url,
            ingest="http://i",
            inside="http://127.0.0.1:1",
            gateway="ws://g/ws",
            gateway_inside="http://127.0.0.1:2",
            worker="http://127.0.0.1:3",
            jupyterlab="http://j/lab?token=t",
            user="instructor",
            password="the-password",
            sign_in_link=f"{url}/courses/c#sign-in=l",
            join=f"{url}/courses/c/join",
        )

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


def test_unencrypted_passwords_in_a_network_cause_a_warning_with_advice(run: Any) -> None:
    words = _words(run("--host", "0.0.0.0", "--name", "lab-pc"))
    assert "without encryption: passwords" in words
    assert "reverse proxy with TLS in front, with --public-url" in words
    assert "Anyone with JupyterLab's address and token can run programs on this machine as you" in words
    # The warning is on standard error, so that scripts can parse standard output.
    as_json = run("--host", "0.0.0.0", "--json")
    assert "without encryption" in _words(as_json)
    assert "without encryption" not in as_json.stdout


@pytest.mark.parametrize("arguments", [(), ("--host", "127.0.0.2"), ("--public-url", "https://monitor.example.org")])
def test_no_warning_for_local_or_encrypted_connections(run: Any, arguments: tuple[str, ...]) -> None:
    assert "without encryption" not in _words(run(*arguments))


def test_a_proxy_whose_headers_are_not_believed_is_reported_with_the_setting_to_use(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CELL_MONITOR_API_FORWARDED_ALLOW_IPS", raising=False)
    assert "set CELL_MONITOR_API_FORWARDED_ALLOW_IPS to its address" in _words(
        run("--public-url", "https://m.example.org")
    )
    assert "CELL_MONITOR_API_FORWARDED_ALLOW_IPS" not in _words(run())
    monkeypatch.setenv("CELL_MONITOR_API_FORWARDED_ALLOW_IPS", "127.0.0.1")
    assert "is not believed" not in _words(run("--public-url", "https://m.example.org"))


def test_printed_command_contains_the_data_directory_given_by_make(run: Any, tmp_path: Path) -> None:
    assert f"simulate --data-dir {tmp_path / 'data'}" in _words(run())


def test_setting_without_effect_is_reported(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELL_MONITOR_GATEWAY_URL", "wss://elsewhere/ws")
    assert "CELL_MONITOR_GATEWAY_URL has no effect on `up`: use --name or --public-url." in _words(run())


def test_the_links_say_whose_they_are_and_nothing_has_to_be_copied(run: Any) -> None:
    lines = [line.strip() for line in run("--public-url", "https://monitor.example.org").stdout.splitlines() if line]
    assert lines == [
        "Instructor: the dashboard. This link signs you in once, within 15 minutes:",
        "https://monitor.example.org/courses/c#sign-in=l",
        "Students with a JupyterLab of their own: sign in, and show them this page:",
        "https://monitor.example.org/courses/c/join",
        "Student: JupyterLab with the sample notebook:",
        "http://j/lab/tree/first-steps.ipynb?token=t",
    ]


def test_the_fields_for_scripts_stay_as_they_were(run: Any) -> None:
    fields = json.loads(run("--json").stdout)
    assert fields["user"] == "instructor"
    assert fields["password"] == "the-password"
    assert fields["jupyterlab"] == "http://j/lab?token=t"
    assert fields["sign_in_link"].endswith("#sign-in=l")
