"""Hazard: another program gets a server's port between its choice and the start of the server."""

from __future__ import annotations

import socket
import subprocess
import sys
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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reserves a port for a server that starts later")
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_chosen_port_is_kept_for_its_server(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(process, "_SERVER_PORTS", [chosen := free_port()] * 100)
    assert free_port() != chosen
    another_process = f"import socket; socket.socket().bind(('127.0.0.1', {chosen}))"
    assert subprocess.run([sys.executable, "-c", another_process], check=False, capture_output=True).returncode == 1
    with socket.create_server((host, chosen)), socket.create_connection(("127.0.0.1", chosen)):
        pass


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux has this folder")
def test_reserved_ports_do_not_use_up_the_open_files_of_a_process() -> None:
    for _ in range(100):
        free_port()
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    for _ in range(100):
        free_port()
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before


def test_a_port_that_a_server_listens_on_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = free_port()
    monkeypatch.setattr(process, "_SERVER_PORTS", [taken] * 100)
    with socket.create_server(("127.0.0.1", taken)):
        port = free_port()
        assert port != taken
        with socket.create_server(("127.0.0.1", port)):
            pass
