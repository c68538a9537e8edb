"""The secrets of an installation in containers, and which of its services is handed which of them.

See compose.yaml: each service mounts a volume of its own, so that who breaks into one service, the gateway above all,
finds no key of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cell_monitor.accounts import ENCRYPTION_KEYS_FILE, INDEX_KEY_FILE, SIGNING_KEYS_FILE, login_of, prepare_keys
from cell_monitor.secret_folder import SecretFolder
from cell_monitor_core.storage.postgres.roles import API_ROLE, WORKER_ROLE

__all__ = ["HANDED_OUT", "hand_out", "make_secrets"]

HANDED_OUT: Final[Mapping[str, frozenset[str]]] = {
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


def make_secrets(secrets: SecretFolder, *, postgres_host: str, valkey_host: str) -> None:
    """Make every key and password that is not there yet, and the addresses that hold them.

    Args:
        secrets: where they are kept.
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


def hand_out(secrets: SecretFolder, folder: Path) -> None:
    """Copy to each service's folder below ``folder`` what it reads, and take away what it no longer reads.

    The copies are readable by all, as each service has a user of its own: only that service may mount its folder.
    """
    for service, names in HANDED_OUT.items():
        own = folder / service
        own.mkdir(parents=True, exist_ok=True)
        for path in own.iterdir():
            if path.is_file() and path.name not in names:
                path.unlink()
        copies = SecretFolder(own, mode=0o644)
        for name in sorted(names):
            # Not `get`, which would make up what is missing.
            copies.put(name, (secrets.path / name).read_text(encoding="utf-8"))
