"""Hazard: two parts of an installation are given the same port, and one of them fails later with a message of its own."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from cell_monitor import ports
from cell_monitor.ports import PortClashError, Ports


def test_a_port_of_two_parts_is_named_with_both_options() -> None:
    with pytest.raises(PortClashError, match=r"8901 .*--api-port 8901 and --port-base 8900"):
        Ports.choose(8900, api=8901)
    with pytest.raises(PortClashError, match=r"9000 .*--gateway-port 9000 and --worker-port 9000"):
        Ports.choose(0, gateway=9000, worker=9000)
    assert Ports.choose(8900, api=9001).gateway == 8901


def test_free_ports_are_no_ports_that_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([9000, 9001, 9001, *range(9000, 9010)])
    monkeypatch.setattr(ports, "free_port", lambda: next(free))
    chosen = astuple(Ports.choose(0, jupyterlab=9000))
    assert len(set(chosen)) == len(chosen)
