"""The ports of an installation."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from itertools import combinations
from typing import Final, Self

from cell_monitor.embedded.process import EmbeddedServerError, free_port, require_free_port

__all__ = ["DEFAULT_PORT_BASE", "PORTS", "Ports"]

DEFAULT_PORT_BASE: Final = 8900


_PARTS: Final = (
    "the dashboard and API",
    "the gateway",
    "the worker",
    "JupyterLab",
    "students' events",
    "the API's metrics",
    "the gateway's metrics",
)
_OPTIONS: Final = ("api", "gateway", "worker", "jupyterlab", "ingest")


class PortClashError(EmbeddedServerError):
    """Two parts would listen on the same port; the message names the options."""


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
        """Return consecutive ports from ``base``, or free ones if it is 0; arguments replace single ports.

        Raises:
            PortClashError: two parts would have the same port.
        """
        given = (api, gateway, worker, jupyterlab, ingest, None, None)
        taken = {port for port in given if port is not None}
        chosen: list[int] = []
        for offset, port in enumerate(given):
            if port is not None:
                chosen.append(port)
            elif base:
                chosen.append(base + offset)
            else:
                while (free := free_port()) in taken:
                    pass
                taken.add(free)
                chosen.append(free)
        for one, two in combinations(range(PORTS), 2):
            if chosen[one] == chosen[two]:
                options = " and ".join(_option(which, given[which], base) for which in (one, two))
                raise PortClashError(
                    f"Port {chosen[one]} is wanted by {_PARTS[one]} and by {_PARTS[two]} ({options}): choose another for one of them."
                )
        return cls(*chosen)

    def require_free(self, *, with_jupyterlab: bool, host: str, advice: str) -> None:
        """Check the ports before a part is started.

        Args:
            with_jupyterlab: whether JupyterLab's port is needed, too.
            host: address of those that other machines use; the others listen on 127.0.0.1.
            advice: the advice in the message.

        Raises:
            PortInUseError: another program listens on one of them.
        """
        inside = (self.worker, self.api_inside, self.gateway_inside)
        for port, wanted_by in zip(astuple(self), _PARTS, strict=True):
            if with_jupyterlab or port != self.jupyterlab:
                where = "127.0.0.1" if port in inside else host
                require_free_port(port, host=where, wanted_by=wanted_by, advice=advice)


def _option(which: int, given: int | None, base: int) -> str:
    return f"--port-base {base}" if given is None else f"--{_OPTIONS[which]}-port {given}"


PORTS: Final = len(fields(Ports))
"""How many ports an installation has."""
