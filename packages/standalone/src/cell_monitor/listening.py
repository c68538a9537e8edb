"""The address that an installation listens on, and the addresses that people use to connect to it."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

import psutil

from cell_monitor.ports import Ports
from cell_monitor_core.store_urls import check_http_url

__all__ = ["LOOPBACK", "Listening", "ListeningError"]

LOOPBACK: Final = "127.0.0.1"
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - used only with the option --host
_LABEL: Final = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*", re.IGNORECASE)
_ORIGIN_LIKE: Final = "Enter it like https://monitor.example.org, without a path."


class ListeningError(RuntimeError):
    """An address cannot be used; the message names the problem and what to do."""


@dataclass(frozen=True, slots=True)
class Listening:
    """The address of the API, the gateway and JupyterLab. The stores and the worker always listen on 127.0.0.1.

    Attributes:
        host: IPv4 address to listen on.
        name: host name or address of this machine for other machines.
        public_url: origin of a reverse proxy that forwards ``/ws`` to the gateway; None without one.
    """

    host: str = LOOPBACK
    name: str = LOOPBACK
    public_url: str | None = None

    @classmethod
    def choose(cls, host: str, *, name: str | None = None, public_url: str | None = None) -> Self:
        """Check the options; detect this machine's address if it listens on all addresses and no name is given.

        Raises:
            ListeningError: an option is invalid.
        """
        _require_own_address(host)
        if name is not None and not _HOST_NAME.fullmatch(name):
            raise ListeningError(
                f"{name!r} is not a host name or address: enter it without http:// and without a port."
            )
        if public_url is not None:
            public_url = public_url.rstrip("/").lower()
            try:
                check_http_url(public_url)
            except ValueError as error:
                raise ListeningError(f"--public-url: {public_url!r} {error}. {_ORIGIN_LIKE}") from error
            parts = urlsplit(public_url)
            origin = f"{parts.scheme}://{parts.netloc}"
            if "@" in origin or origin != public_url:
                raise ListeningError(f"--public-url: {public_url!r} is no origin. {_ORIGIN_LIKE}")
        return cls(host, name or (_first_address() if host == _EVERYWHERE else host), public_url)

    @property
    def local(self) -> str:
        """The address that the parts on this machine use to connect to each other."""
        return LOOPBACK if self.host == _EVERYWHERE else self.host

    @property
    def unencrypted(self) -> bool:
        """Whether passwords and tokens may be sent through a network as plain text."""
        off_this_machine = not ipaddress.IPv4Address(self.host).is_loopback
        return off_this_machine or (self.public_url or "").startswith("http://")

    def base_url(self, port: int) -> str:
        """Return the URL of a port of this machine for other machines, in the form of a browser's origin."""
        return _origin(self.name, port)

    def dashboard_url(self, ports: Ports) -> str:
        """Return the URL of the dashboard and the API."""
        return self.public_url or self.base_url(ports.api)

    def gateway_url(self, ports: Ports) -> str:
        """Return the WebSocket URL of the gateway."""
        base = self.public_url or self.base_url(ports.gateway)
        return f"ws{base.removeprefix('http')}/ws"

    def origins(self, ports: Ports) -> list[str]:
        """Return the origins whose pages may connect to the gateway: the dashboard's, with each name of this machine."""
        names = [LOOPBACK, "localhost", self.local, self.name]
        if self.host == _EVERYWHERE:
            machine = socket.gethostname().lower()
            # The names under which a local network resolves this machine: its host name, and multicast DNS.
            names += [
                *_own_addresses(),
                *(name for name in (machine, f"{machine}.local") if _HOST_NAME.fullmatch(name)),
            ]
        known = [_origin(name, ports.api) for name in names]
        return list(dict.fromkeys([*([self.public_url] if self.public_url else []), *known]))


def _origin(host: str, port: int) -> str:
    # Browsers omit the default port, and the gateway compares the exact text.
    return f"http://{host.lower()}" if port == 80 else f"http://{host.lower()}:{port}"


def _require_own_address(host: str) -> None:
    try:
        ipaddress.IPv4Address(host)
    except ValueError as error:
        raise ListeningError(
            f"{host!r} is not an IPv4 address to listen on: enter one of this machine ({', '.join(_own_addresses())}), "
            f"or {_EVERYWHERE} for all of them."
        ) from error
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise ListeningError(
                f"{host} is not an address of this machine. It has: {', '.join(_own_addresses())}; {_EVERYWHERE} means all."
            ) from error


def _own_addresses() -> list[str]:
    return [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    ]


def _first_address() -> str:
    """Return the source address of outgoing connections: other machines can most likely connect to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing and only looks up the route (to an address for documentation).
            probe.connect(("198.51.100.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            others = [address for address in _own_addresses() if not ipaddress.IPv4Address(address).is_loopback]
            return others[0] if others else LOOPBACK
