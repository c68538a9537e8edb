"""Hazards: a misspelled or renamed setting is ignored, a secret leaks into an error, a secret file is not read."""

import os

import pytest

from cell_monitor_core.settings import RENAMED, CoreSettings, SettingsError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("CELL_MONITOR_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CELL_MONITOR_REDIS_URL", "redis://localhost:6379/0")


class WorkerLike(CoreSettings):
    service = "worker"
    worker_port: int = 8902


def test_misspelled_variable_is_refused_with_the_right_name(monkeypatch):
    monkeypatch.setenv("CELL_MONITOR_PARTITION", "4")
    with pytest.raises(
        SettingsError, match="CELL_MONITOR_PARTITION is not a setting, did you mean CELL_MONITOR_PARTITIONS"
    ):
        CoreSettings.load()


def test_no_renamed_variable_is_a_setting_again():
    # A former name that gets a new meaning would let an old configuration start with the wrong value.
    assert not RENAMED.keys() & set(RENAMED.values())


def test_other_services_variables_and_kubernetes_links_pass(monkeypatch):
    monkeypatch.setenv("CELL_MONITOR_API_PORT", "8900")
    monkeypatch.setenv("CELL_MONITOR_SIGNING_KEYS_FILE", "/nowhere")
    monkeypatch.setenv("CELL_MONITOR_REDIS_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("CELL_MONITOR_REDIS_PORT_6379_TCP_ADDR", "10.0.0.1")
    assert WorkerLike.load().worker_port == 8902


def test_own_prefix_is_strict(monkeypatch):
    monkeypatch.setenv("CELL_MONITOR_WORKER_PROT", "1")
    with pytest.raises(SettingsError, match="WORKER_PROT is not a setting, did you mean CELL_MONITOR_WORKER_PORT"):
        WorkerLike.load()


@pytest.mark.parametrize("settings", [CoreSettings, WorkerLike])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("COALESCE_MS", "GATEWAY_COALESCE_MS"),
        ("TEST_ROAD", "TEST_MODE"),
        ("WORKER_ALONE_AFTER_DELIVERIES", "WORKER_ISOLATE_AFTER_DELIVERIES"),
        ("WORKER_ASIDE_AFTER_DELIVERIES", "WORKER_DEAD_LETTER_AFTER_DELIVERIES"),
        ("WORKER_LANES", "WORKER_CONCURRENCY"),
        ("WORKER_SERIES_GATHER_S", "WORKER_SERIES_LINGER_S"),
    ],
)
def test_an_old_name_is_refused_by_every_service_with_the_new_one(monkeypatch, settings, old, new):
    monkeypatch.setenv(f"CELL_MONITOR_{old}", "1")
    with pytest.raises(SettingsError) as caught:
        settings.load()
    assert str(caught.value) == f"CELL_MONITOR_{old} was renamed: set CELL_MONITOR_{new} instead"


def test_an_old_name_of_a_secret_is_refused_as_a_file_too(monkeypatch):
    monkeypatch.setitem(RENAMED, "OLD_URL", "REDIS_URL")
    monkeypatch.setenv("CELL_MONITOR_OLD_URL_FILE", "/nowhere")
    with pytest.raises(SettingsError, match="OLD_URL_FILE was renamed: set CELL_MONITOR_REDIS_URL_FILE instead"):
        CoreSettings.load()


def test_every_fault_is_named_and_no_value_is_shown(monkeypatch):
    monkeypatch.setenv("CELL_MONITOR_REDIS_URL", "http://user:hunter2@host")
    monkeypatch.setenv("CELL_MONITOR_PARTITIONS", "0")
    with pytest.raises(SettingsError) as caught:
        CoreSettings.load()
    message = str(caught.value)
    assert "CELL_MONITOR_REDIS_URL: must begin with" in message
    assert "CELL_MONITOR_PARTITIONS: " in message
    assert "hunter2" not in message


def test_secret_file_is_read_and_stripped(monkeypatch, tmp_path):
    secret = tmp_path / "url"
    secret.write_text("postgresql://u:p@db/cm\n")
    monkeypatch.setenv("CELL_MONITOR_DATABASE_URL_FILE", str(secret))
    settings = CoreSettings.load()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://u:p@db/cm"
    assert "u:p" not in repr(settings)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"x" * 70_000])
def test_unusable_secret_file_is_named(monkeypatch, tmp_path, content):
    secret = tmp_path / "url"
    if content is not None:
        secret.write_bytes(content)
    monkeypatch.setenv("CELL_MONITOR_DATABASE_URL_FILE", str(secret))
    with pytest.raises(SettingsError, match="CELL_MONITOR_DATABASE_URL_FILE"):
        CoreSettings.load()


def test_variable_and_file_together_are_ambiguous(monkeypatch, tmp_path):
    monkeypatch.setenv("CELL_MONITOR_DATABASE_URL", "postgresql://a")
    monkeypatch.setenv("CELL_MONITOR_DATABASE_URL_FILE", str(tmp_path / "x"))
    with pytest.raises(SettingsError, match="both set"):
        CoreSettings.load()


def test_influxdb_url_without_token_is_refused(monkeypatch):
    monkeypatch.setenv("CELL_MONITOR_INFLUXDB_URL", "http://influx:8086")
    with pytest.raises(SettingsError, match="CELL_MONITOR_INFLUXDB_TOKEN is needed"):
        CoreSettings.load()
