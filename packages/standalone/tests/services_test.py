"""Hazards: a setting of the caller does not reach the services; a child process gets a secret that it does not need."""

from __future__ import annotations

from pathlib import Path

import pytest

from cell_monitor import services
from cell_monitor.data_directory import DataDirectory
from cell_monitor.listening import Listening
from cell_monitor.ports import Ports
from cell_monitor.services import MissingPartError, RunFiles, api_service, find_dashboard, jupyterlab_service


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path)
    directory.prepare()
    return directory


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(tmp_path / "redis-url", tmp_path / "api-url", tmp_path / "worker-url")


PORTS = Ports.choose(1001)
HERE = Listening()


def _environment(service: services.HttpService) -> dict[str, str]:
    environment = service.process._env
    assert environment is not None
    return environment


def test_settings_of_the_caller_reach_the_services(
    data: DataDirectory, files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELL_MONITOR_INFLUXDB_URL", "http://influx:8086")
    monkeypatch.setenv("CELL_MONITOR_LOG_LEVEL", "debug")
    environment = _environment(api_service(data, PORTS, HERE, files, dashboard=None, wheel=None, workers=1))
    assert environment["CELL_MONITOR_INFLUXDB_URL"] == "http://influx:8086"
    assert environment["CELL_MONITOR_LOG_LEVEL"] == "debug"


def test_settings_of_up_override_the_callers_environment(
    data: DataDirectory, files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELL_MONITOR_API_PORT", "7")
    monkeypatch.setenv("CELL_MONITOR_REDIS_URL", "redis://elsewhere")
    monkeypatch.setenv("CELL_MONITOR_DATA_DIR", "/elsewhere")
    environment = _environment(api_service(data, PORTS, HERE, files, dashboard=None, wheel=None, workers=1))
    assert environment["CELL_MONITOR_API_PORT"] == "1001"
    assert "CELL_MONITOR_REDIS_URL" not in environment
    assert "CELL_MONITOR_DATA_DIR" not in environment


def test_no_secret_is_in_an_environment_or_command_line(data: DataDirectory, files: RunFiles) -> None:
    data.secrets.put("postgres-password", "S3CRET-A")
    data.secrets.put("signing-keys.json", "S3CRET-B")
    service = api_service(data, PORTS, HERE, files, dashboard=None, wheel=None, workers=1)
    assert "S3CRET" not in repr(_environment(service)) + repr(service.process.argv)


def test_jupyterlab_gets_no_setting_but_its_own_key(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELL_MONITOR_INFLUXDB_TOKEN", "secret")
    lab = jupyterlab_service(data, PORTS, HERE)
    ours = {name for name in _environment(lab) if name.startswith("CELL_MONITOR_")}
    assert ours == {"CELL_MONITOR_API_URL", "CELL_MONITOR_API_KEY_FILE"}
    assert data.secrets.get("jupyterlab-token") not in " ".join(lab.process.argv)


def test_setting_without_effect_is_reported_with_the_option_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELL_MONITOR_API_HOST", "0.0.0.0")
    monkeypatch.setenv("CELL_MONITOR_LOG_LEVEL", "debug")
    assert services.ignored_settings() == {"CELL_MONITOR_API_HOST": "--host"}


def test_missing_dashboard_names_make_and_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingPartError, match="no built dashboard"):
        find_dashboard(tmp_path)
    monkeypatch.setattr(services, "__file__", str(tmp_path / "a/b/c/d/e.py"))
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    with pytest.raises(MissingPartError, match=r"make dashboard.*Node.js 20.*--without-dashboard"):
        find_dashboard(None)


def test_missing_jupyterlab_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "find_spec", lambda _name: None)
    with pytest.raises(MissingPartError, match=r"pip install jupyterlab jupyterlab-cell-monitor.*--without-jupyterlab"):
        services.require_jupyterlab()
