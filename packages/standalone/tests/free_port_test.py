"""Hazard: another program's connection gets a server's port between its choice and the start of the server."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cell_monitor.embedded import process
from cell_monitor.embedded.process import free_port

_LINUX_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.mark.skipif(not _LINUX_RANGE.exists(), reason="only Linux has this file")
def test_no_outgoing_connection_is_given_the_port() -> None:
    first, _ = map(int, _LINUX_RANGE.read_text(encoding="ascii").split())
    if first < 32_768:
        pytest.skip("this machine gives outgoing connections ports below Linux's usual 32768, too")
    assert max(free_port() for _ in range(50)) < first


def test_a_port_that_a_server_listens_on_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = free_port()
    monkeypatch.setattr(process, "_SERVER_PORTS", [taken] * 100)
    with socket.create_server(("127.0.0.1", taken)):
        port = free_port()
        assert port != taken
        with socket.create_server(("127.0.0.1", port)):
            pass
