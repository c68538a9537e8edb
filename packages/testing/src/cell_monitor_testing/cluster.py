"""A real Valkey Cluster of three masters on this machine."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from cell_monitor.embedded.process import EmbeddedServerError
from cell_monitor.embedded.valkey import EmbeddedValkey

__all__ = ["ValkeyCluster"]

_SLOTS: Final = 16_384


class ValkeyCluster:
    """Masters with equal shares of the slots, without replicas.

    Attributes:
        nodes: the servers; each can be killed and started again on the same port.
    """

    def __init__(self, directory: Path, *, masters: int = 3, password: str = "cluster-password") -> None:  # noqa: S107
        """Configure the cluster; it is not started."""
        self._password = password
        self.nodes = [
            EmbeddedValkey(directory / f"node-{number}", password=password, cluster=True) for number in range(masters)
        ]

    @property
    def url(self) -> str:
        """Start-up URL, ``redis+cluster://:password@host:port,host:port,…``."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"redis+cluster://:{quote(self._password, safe='')}@{hosts}"

    def start(self) -> None:
        """Start the nodes, assign the slots and wait until every node knows the whole cluster."""
        for node in self.nodes:
            node.start()
        share = _SLOTS // len(self.nodes)
        for number, node in enumerate(self.nodes):
            first = number * share
            last = _SLOTS - 1 if node is self.nodes[-1] else first + share - 1
            _command(node, "CLUSTER", "ADDSLOTSRANGE", first, last)
            _command(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        # After the epochs: a node that knows another node refuses to set its epoch.
        for node in self.nodes:
            for other in self.nodes:
                if other is not node:
                    _command(node, "CLUSTER", "MEET", "127.0.0.1", other.port, _bus_port(other))
        self.wait_ready()

    def wait_ready(self, *, timeout: float = 60.0) -> None:
        """Wait until every node knows all others and all slots are served.

        Raises:
            EmbeddedServerError: that takes more than ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while not all(self._sees_everything(node) for node in self.nodes):
            if time.monotonic() > deadline:
                raise EmbeddedServerError(f"The Valkey Cluster did not form within {timeout:.0f} s.")
            time.sleep(0.05)

    def flush(self) -> None:
        """Delete all data of every running node."""
        for node in self.nodes:
            _command(node, "FLUSHALL")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let every node hang, as on a machine that is suspended: it keeps its connections and answers nothing."""
        for node in self.nodes:
            node.process.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for node in self.nodes:
                node.process.signal(signal.SIGCONT)
            self.wait_ready()

    def stop(self) -> None:
        """Stop every node."""
        for node in self.nodes:
            if node.port:
                node.stop(timeout=5)

    def _sees_everything(self, node: EmbeddedValkey) -> bool:
        raw = _command(node, "CLUSTER", "INFO")
        text = raw.decode() if isinstance(raw, bytes) else "".join(f"{k}:{v}\r\n" for k, v in raw.items())
        info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return (
            info.get("cluster_state") == "ok"
            and info.get("cluster_slots_ok") == str(_SLOTS)
            and info.get("cluster_known_nodes") == str(len(self.nodes))
        )


def _command(node: EmbeddedValkey, *arguments: str | int) -> Any:
    client: Any = node.client()
    try:
        return client.execute_command(*arguments)
    finally:
        client.close()


def _bus_port(node: EmbeddedValkey) -> int:
    for line in (node.directory / "valkey.conf").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "cluster-port":
            return int(value)
    raise EmbeddedServerError(f"{node.directory} is not a cluster node.")
