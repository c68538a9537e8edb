"""The ports of an installation."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Self

from cell_monitor.embedded.process import free_port, require_free_port

__all__ = ["DEFAULT_PORT_BASE", "PORTS", "Ports"]

DEFAULT_PORT_BASE: Final = 8900


@dataclass(frozen=True, slots=True)
class Ports:
    """The TCP ports of the services and JupyterLab.

    Attributes:
        api: API and dashboard.
        gateway: WebSockets.
        worker: probes and metrics of the worker.
        jupyterlab: JupyterLab.
        ingest: events and the exchange of tokens, and nothing else.
        api_inside: probes and metrics of the API.
        gateway_inside: probes and metrics of the gateway.
    """

    api: int
    gateway: int
    worker: int
    jupyterlab: int
    ingest: int
    api_inside: int
    gateway_inside: int

    @classmethod
    def choose(
        cls,
        base: int,
        *,
        api: int | None = None,
        gateway: int | None = None,
        worker: int | None = None,
        jupyterlab: int | None = None,
        ingest: int | None = None,
    ) -> Self:
        """Return consecutive ports from ``base``, or free ones if it is 0; arguments replace single ports."""
        given = (api, gateway, worker, jupyterlab, ingest, None, None)
        offsets = [base + offset if base else free_port() for offset in range(PORTS)]
        return cls(*(offset if port is None else port for port, offset in zip(given, offsets, strict=True)))

    def require_free(self, *, with_jupyterlab: bool, host: str, advice: str) -> None:
        """Check the ports before a part is started.

        Args:
            with_jupyterlab: whether JupyterLab's port is needed, too.
            host: address of those that other machines use; the others listen on 127.0.0.1.
            advice: the advice in the message.

        Raises:
            PortInUseError: another program listens on one of them.
        """
        wanted = [
            (self.api, host, "the dashboard and API"),
            (self.gateway, host, "the gateway"),
            (self.ingest, host, "students' events"),
            (self.worker, "127.0.0.1", "the worker"),
            (self.api_inside, "127.0.0.1", "the API's metrics"),
            (self.gateway_inside, "127.0.0.1", "the gateway's metrics"),
        ]
        if with_jupyterlab:
            wanted.append((self.jupyterlab, host, "JupyterLab"))
        for port, where, wanted_by in wanted:
            require_free_port(port, host=where, wanted_by=wanted_by, advice=advice)


PORTS: Final = len(fields(Ports))
"""How many ports an installation has."""
