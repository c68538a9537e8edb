"""The ports of an installation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from cell_monitor.embedded.process import free_port, require_free_port

__all__ = ["DEFAULT_PORT_BASE", "Ports"]

DEFAULT_PORT_BASE = 8900


@dataclass(frozen=True, slots=True)
class Ports:
    """The TCP ports of the services and JupyterLab.

    Attributes:
        api: API and dashboard.
        gateway: WebSockets.
        worker: health and metrics of the worker.
        jupyterlab: JupyterLab.
    """

    api: int
    gateway: int
    worker: int
    jupyterlab: int

    @classmethod
    def choose(
        cls,
        base: int,
        *,
        api: int | None = None,
        gateway: int | None = None,
        worker: int | None = None,
        jupyterlab: int | None = None,
    ) -> Self:
        """Return four consecutive ports from ``base``, or free ones if it is 0; arguments replace single ports."""
        offsets = [base + offset if base else free_port() for offset in range(4)]
        given = (api, gateway, worker, jupyterlab)
        return cls(*(offset if port is None else port for port, offset in zip(given, offsets, strict=True)))

    def require_free(self, *, with_jupyterlab: bool, host: str, advice: str) -> None:
        """Check the ports before a part is started.

        Args:
            with_jupyterlab: whether JupyterLab's port is needed, too.
            host: address of all but the worker, which listens on 127.0.0.1.
            advice: the advice in the message.

        Raises:
            PortInUseError: another program listens on one of them.
        """
        wanted = [
            (self.api, host, "the dashboard and API"),
            (self.gateway, host, "the gateway"),
            (self.worker, "127.0.0.1", "the worker"),
        ]
        if with_jupyterlab:
            wanted.append((self.jupyterlab, host, "JupyterLab"))
        for port, where, wanted_by in wanted:
            require_free_port(port, host=where, wanted_by=wanted_by, advice=advice)
