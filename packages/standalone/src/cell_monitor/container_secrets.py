"""The secrets of an installation in containers, and the subset that each service gets.

See compose.yaml: each service mounts its own volume, so that an attacker who takes over one service, such as the
gateway, does not find the keys of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cell_monitor.accounts import ENCRYPTION_KEYS_FILE, INDEX_KEY_FILE, SIGNING_KEYS_FILE, login_of, prepare_keys
from cell_monitor.secret_folder import SecretFolder
from cell_monitor_core.storage.postgres.roles import API_ROLE, WORKER_ROLE

__all__ = ["FILES_OF_SERVICES", "copy_to_services", "create_secrets"]

FILES_OF_SERVICES: Final[Mapping[str, frozenset[str]]] = {
    "api": frozenset(
        {
            f"{API_ROLE}_login-url",
            "redis-url",
            "influxdb-token",
            ENCRYPTION_KEYS_FILE,
            INDEX_KEY_FILE,
            SIGNING_KEYS_FILE,
        }
    ),
    "worker": frozenset({f"{WORKER_ROLE}_login-url", "redis-url", "influxdb-token", ENCRYPTION_KEYS_FILE}),
    "gateway": frozenset({"redis-url"}),
    "tools": frozenset({"database-url", "redis-url", ENCRYPTION_KEYS_FILE, INDEX_KEY_FILE}),
    "postgres": frozenset({"postgres-password"}),
    "valkey": frozenset({"valkey.conf", "valkey-password"}),
    "influxdb": frozenset({"influxdb-password", "influxdb-token"}),
}
"""The files that each service of compose.yaml reads."""


def create_secrets(secrets: SecretFolder, *, postgres_host: str, valkey_host: str) -> None:
    """Create each key and password that does not exist yet, and the connection URLs that contain them.

    Args:
        secrets: the folder to store them in.
        postgres_host: ``host:port`` of PostgreSQL.
        valkey_host: ``host:port`` of Valkey.
    """
    prepare_keys(secrets)
    owner = secrets.get("postgres-password")
    valkey = secrets.get("valkey-password")
    secrets.get("influxdb-password")
    secrets.get("influxdb-token")
    secrets.put("database-url", f"postgresql://cell_monitor:{owner}@{postgres_host}/cell_monitor")
    secrets.put("redis-url", f"redis://:{valkey}@{valkey_host}")
    secrets.put(
        "valkey.conf", f"requirepass {valkey}\nappendonly yes\nappendfsync everysec\nmaxmemory-policy noeviction\n"
    )
    for role in (API_ROLE, WORKER_ROLE):
        login, password = login_of(role, secrets)
        secrets.put(f"{login}-url", f"postgresql://{login}:{password}@{postgres_host}/cell_monitor")


def copy_to_services(secrets: SecretFolder, folder: Path) -> None:
    """Copy the files of each service to its folder below ``folder``, and delete the files that it no longer reads.

    The copies are readable by all users, because each service runs as a different one. Only that service may mount its
    folder.
    """
    for service, names in FILES_OF_SERVICES.items():
        own = folder / service
        own.mkdir(parents=True, exist_ok=True)
        for path in own.iterdir():
            if path.is_file() and path.name not in names:
                path.unlink()
        copies = SecretFolder(own, mode=0o644)
        for name in sorted(names):
            # Not `get`, which would generate a missing file.
            copies.put(name, (secrets.path / name).read_text(encoding="utf-8"))
