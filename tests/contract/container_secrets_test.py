"""Hazards: an attacker in one container reads the keys of all; a service does not get a secret that it needs."""

import asyncio
import re
import socket
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from cell_monitor import deployment
from cell_monitor.cli import main
from cell_monitor_api.config import ApiSettings
from cell_monitor_api.context import ProcessContext
from cell_monitor_core.redis_client import aclose
from cell_monitor_core.settings import is_secret
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_gateway.process import GatewayProcess
from cell_monitor_worker.config import WorkerSettings
from cell_monitor_worker.context import WorkerContext

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
ALL_SECRETS = "secrets"
STEPS = {"secrets", "prepare"}
STORES = ("postgres", "valkey", "influxdb")
# By hand, from docs/operations/reference.md: least privilege is not what the code happens to read.
GIVEN = {
    "api": {"redis_url", "database_url", "encryption_keys", "index_key", "signing_keys", "influxdb_token"},
    "worker": {"redis_url", "database_url", "encryption_keys", "influxdb_token"},
    "gateway": {"redis_url"},
}
PRIVATE = {"signing-keys.json", "encryption-keys.json", "index-key"}


def mounts(service):
    """Yield volume, folder in the container, and whether the volume is writable."""
    for mount in SERVICES[service].get("volumes", []):
        volume, target, *options = mount.split(":")
        yield volume, target, "ro" not in options


def create_secrets(disk):
    """Run the step `secrets` of compose.yaml with a folder in ``disk`` for each volume."""
    command = list(SERVICES["secrets"]["command"])
    # The longest path first, so that a mount inside another one is created first.
    for volume, target, _ in sorted(mounts("secrets"), key=lambda mount: -len(mount[1])):
        (disk / "root" / target.strip("/")).parent.mkdir(parents=True, exist_ok=True)
        (disk / volume).mkdir(exist_ok=True)
        link = disk / "root" / target.strip("/")
        if not link.exists():
            link.symlink_to(disk / volume)
    arguments = [str(disk / "root") + argument if argument.startswith("/") else argument for argument in command]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output


@pytest.fixture
def disk(tmp_path):
    create_secrets(tmp_path)
    return tmp_path


def own_folder(disk, service):
    (volume,) = (volume for volume, target, _ in mounts(service) if target == "/secrets")
    return disk / volume


def secrets_in_volume(disk, service):
    return {path.name for path in own_folder(disk, service).iterdir()}


def secrets_of(settings):
    return {name for name, field in settings.model_fields.items() if is_secret(field)}


def files_by_setting(service):
    """Return the files in a service's volume by the setting that they contain."""
    pairs = SERVICES[service]["environment"].items()
    return {
        variable.removeprefix("CELL_MONITOR_").removesuffix("_FILE").lower(): value.removeprefix("/secrets/")
        for variable, value in pairs
        if str(value).startswith("/secrets/")
    }


def recording(settings, read):
    """Return a subclass of the settings that adds each secret that is read to ``read``."""
    secrets = secrets_of(settings)

    class Recording(settings):
        def __getattribute__(self, name):
            if name in secrets:
                read.add(name)
            return super().__getattribute__(name)

    return Recording


async def open_api(settings):
    context = await ProcessContext.from_settings(settings)
    await context.aclose()


async def open_worker(settings):
    context = await WorkerContext.open(settings)
    await context.aclose()


async def open_gateway(settings):
    process = GatewayProcess.from_settings(settings)
    await aclose(process.redis)


@pytest.fixture
def enter(disk, database, valkey, monkeypatch):
    """Give this process the environment of a service with the test's stores and without a reachable InfluxDB."""

    def become(service):
        folder = own_folder(disk, service)
        for name in secrets_in_volume(disk, service):
            if name == "redis-url":
                (folder / name).write_text(valkey)
            elif name.endswith("-url"):
                (folder / name).write_text(database)
        for variable, value in SERVICES[service]["environment"].items():
            monkeypatch.setenv(variable, re.sub(r"^/secrets", str(folder), str(value)))
        if "CELL_MONITOR_INFLUXDB_URL" in SERVICES[service]["environment"]:
            with socket.socket() as taken:
                taken.bind(("127.0.0.1", 0))
                monkeypatch.setenv("CELL_MONITOR_INFLUXDB_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")

    return become


@pytest.mark.parametrize(
    ("service", "settings", "open_service"),
    [
        ("api", ApiSettings, open_api),
        ("worker", WorkerSettings, open_worker),
        ("gateway", GatewaySettings, open_gateway),
    ],
    ids=["api", "worker", "gateway"],
)
def test_a_service_gets_exactly_the_secrets_that_it_reads(service, settings, open_service, disk, enter):
    enter(service)
    read = set()
    loaded = recording(settings, read).load()
    # The validation at load is not counted as a use.
    read.clear()
    asyncio.run(open_service(loaded))
    files = files_by_setting(service)
    assert set(files) == read == GIVEN[service]
    assert secrets_in_volume(disk, service) == set(files.values())


def test_the_tools_get_exactly_the_secrets_that_they_read(disk, enter, monkeypatch):
    enter("tools")
    read = set()
    monkeypatch.setattr(deployment, "CommandSettings", recording(deployment.CommandSettings, read))
    for arguments in (
        ["create-course", "physics-1", "Physics 1"],
        ["add-member", "physics-1", "sato", "--role", "instructor"],
        ["replay-failed-events"],
    ):
        result = CliRunner().invoke(main, ["admin", *arguments])
        assert result.exit_code == 0, result.output
    files = files_by_setting("tools")
    assert set(files) == read
    assert secrets_in_volume(disk, "tools") == set(files.values())


@pytest.mark.parametrize("service", STORES)
def test_a_store_gets_exactly_the_files_that_its_entry_names(service, disk):
    entry = SERVICES[service]
    text = yaml.safe_dump([entry.get("command"), entry.get("environment"), entry["healthcheck"]], width=10_000)
    assert secrets_in_volume(disk, service) == set(re.findall(r"/secrets/([\w.-]+)", text))


def test_the_gateway_has_no_key_and_only_the_password_of_redis(disk):
    assert secrets_in_volume(disk, "gateway") == {"redis-url"}
    assert not secrets_in_volume(disk, "worker") & {"signing-keys.json", "index-key", "database-url"}
    keys = [(disk / ALL_SECRETS / name).read_text() for name in PRIVATE]
    for path in own_folder(disk, "gateway").iterdir():
        assert not [key for key in keys if key in path.read_text()]


def test_only_the_steps_that_create_the_secrets_can_read_all_of_them():
    for service in SERVICES:
        volumes = {volume: writes for volume, _, writes in mounts(service) if volume.endswith("secrets")}
        if service in STEPS:
            assert ALL_SECRETS in volumes
            # The step ends after its work and has no open port.
            assert not {"ports", "restart", "expose"} & set(SERVICES[service])
            others = {
                condition["condition"]
                for name, entry in SERVICES.items()
                if name != service
                for needed, condition in entry.get("depends_on", {}).items()
                if needed == service
            }
            assert others == {"service_completed_successfully"}
        else:
            assert volumes == {f"{service}-secrets": False}
    # No volume is mounted by two services.
    owners = [volume for service in SERVICES if service not in STEPS for volume, _, _ in mounts(service)]
    assert len(owners) == len(set(owners))


def test_only_root_can_read_all_secrets_and_each_service_can_read_its_own(disk):
    assert {path.stat().st_mode & 0o777 for path in (disk / ALL_SECRETS).iterdir()} == {0o600}
    for service in set(SERVICES) - STEPS:
        assert {path.stat().st_mode & 0o777 for path in own_folder(disk, service).iterdir()} == {0o644}


def test_the_next_start_copies_a_changed_key_and_deletes_files_that_are_no_longer_read(disk):
    before = (disk / ALL_SECRETS / "index-key").read_text()
    (disk / ALL_SECRETS / "encryption-keys.json").write_text("a new key")
    left = own_folder(disk, "gateway") / "encryption-keys.json"
    left.write_text("of an earlier version")
    create_secrets(disk)
    assert (own_folder(disk, "api") / "encryption-keys.json").read_text() == "a new key"
    assert (own_folder(disk, "api") / "index-key").read_text() == before
    assert not left.exists()
