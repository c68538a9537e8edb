"""Hazard: a process with a mistake in its settings starts, ends with a traceback, or shows a part of a secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cell_monitor_api.config import ApiSettings
from cell_monitor_core.settings import CoreSettings, SettingsError
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_testing.keys import SampleSecrets
from cell_monitor_worker.config import WorkerSettings

SECRET = "Geheim9x"
SERVICES = {
    "api": ["-m", "cell_monitor_api"],
    "gunicorn": ["-m", "gunicorn", "--config", "python:cell_monitor_api.gunicorn_conf"],
    "uvicorn": ["-m", "uvicorn", "--factory", "cell_monitor_api.main:create_app"],
    "worker": ["-m", "cell_monitor_worker"],
    "gateway": ["-m", "cell_monitor_gateway"],
    "migrations": ["-m", "cell_monitor_core.storage.postgres.migrations"],
    "rotation": ["-m", "cell_monitor_core.storage.postgres.rotation"],
    "rebuild": ["-c", "from cell_monitor.cli import main; main()", "rebuild", "--check"],
    "admin": ["-c", "from cell_monitor.cli import main; main()", "admin", "list-members", "c1"],
}
KEY_AS_ID = json.dumps({"active": "k1", "keys": {f"{SECRET}+{'A' * 34}=": "k1"}})
SHORT_KEY = json.dumps({"active": "k1", "keys": {"k1": SECRET}})
# A process for each program, as a start takes a second.
IN_PROCESSES = [
    *(
        (name, "DATABASE_URL", f"postgresql://u:{SECRET}/x@db/m")
        for name in ("api", "worker", "migrations", "rotation", "admin")
    ),
    ("gateway", "REDIS_URL", f"redis://u:{SECRET}#@r"),
    ("gunicorn", "SIGNING_KEYS", SECRET),
    ("uvicorn", "ENCRYPTION_KEYS", SHORT_KEY),
    ("rebuild", "ENCRYPTION_KEYS", KEY_AS_ID),
]
MISTAKES: list[tuple[type[CoreSettings], str, str]] = [
    *((settings, "REDIS_URL", f"redis://u:{SECRET}#@r") for settings in (ApiSettings, WorkerSettings)),
    *((settings, "ENCRYPTION_KEYS", KEY_AS_ID) for settings in (ApiSettings, WorkerSettings)),
    (WorkerSettings, "ENCRYPTION_KEYS", SHORT_KEY),
    (WorkerSettings, "ENCRYPTION_KEYS", json.dumps({"active": SECRET * 5, "keys": {}})),
    (ApiSettings, "INDEX_KEY", SECRET),
    (ApiSettings, "SIGNING_KEYS", f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"),
    (ApiSettings, "API_HUB_ROLES", f"{{{SECRET}"),
    (ApiSettings, "API_PORT", SECRET),
    (ApiSettings, "API_HUB_URL", f"http://u:{SECRET}@x@hub/hub/api"),
    (ApiSettings, "DATABASE_URL", f"postgresql://u:{SECRET}@db/m?sslmode=on"),
    (WorkerSettings, "DATABASE_URL", f"postgresql://u:{SECRET}@db/m?sslkey=/none"),
    (WorkerSettings, "INFLUXDB_URL", f"{SECRET}:8086"),
    (WorkerSettings, "OTLP_ENDPOINT", f"http://u:{SECRET}/@collector:4318"),
    (GatewaySettings, "JWKS_URL", f"http://{SECRET}:port/jwks"),
]


def settings_of(secrets: SampleSecrets) -> dict[str, str]:
    return {
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/m",
        "ENCRYPTION_KEYS": secrets.encryption_keys,
        "INDEX_KEY": secrets.index_key,
        "SIGNING_KEYS": secrets.signing_keys,
        "JWKS_URL": "http://127.0.0.1:9/jwks.json",
    }


def start(program: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, *SERVICES[program]],
        env=inherited | {f"CELL_MONITOR_{name}": value for name, value in settings.items()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_said(done: subprocess.CompletedProcess[str], named: str) -> None:
    assert done.returncode == 2, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert any(named in line["reason"] and line["event"] == "settings_invalid" for line in lines), lines
    assert {line["level"] for line in lines} == {"critical"}
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize(("program", "variable", "value"), IN_PROCESSES, ids=[name for name, _, _ in IN_PROCESSES])
def test_a_mistake_ends_each_process_with_a_line_that_names_the_variable(program, variable, value, secrets):
    assert_said(start(program, settings_of(secrets) | {variable: value}), f"CELL_MONITOR_{variable}")


@pytest.mark.parametrize(
    ("service", "variable", "value"), MISTAKES, ids=[f"{number}-{name}" for number, (_, name, _) in enumerate(MISTAKES)]
)
def test_a_mistake_is_found_at_the_start(service, variable, value, secrets, monkeypatch):
    for name in [name for name in os.environ if name.startswith("CELL_MONITOR_")]:
        monkeypatch.delenv(name)
    for name, right in settings_of(secrets).items():
        monkeypatch.setenv(f"CELL_MONITOR_{name}", right)
    service.load()
    monkeypatch.setenv(f"CELL_MONITOR_{variable}", value)
    with pytest.raises(SettingsError, match=f"CELL_MONITOR_{variable}") as found:
        service.load()
    assert SECRET not in str(found.value)


@pytest.mark.parametrize("program", ["api", "admin"])
def test_what_is_missing_is_named(program, secrets):
    settings = settings_of(secrets)
    del settings["ENCRYPTION_KEYS"]
    assert_said(start(program, settings), "CELL_MONITOR_ENCRYPTION_KEYS or CELL_MONITOR_ENCRYPTION_KEYS_FILE is needed")


@pytest.mark.parametrize("program", ["worker", "rotation"])
def test_a_file_that_cannot_be_read_is_named(program, secrets, tmp_path: Path):
    settings = settings_of(secrets) | {"DATABASE_URL_FILE": str(tmp_path / "none")}
    del settings["DATABASE_URL"]
    assert_said(start(program, settings), "CELL_MONITOR_DATABASE_URL_FILE: cannot read")
