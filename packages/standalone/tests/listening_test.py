"""Hazards: a printed address that other machines cannot reach; an address that fails only when a page connects."""

from __future__ import annotations

import pytest

from cell_monitor import listening
from cell_monitor.listening import Listening, ListeningError
from cell_monitor.ports import Ports

PORTS = Ports.choose(8900)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_own_addresses", lambda: ["127.0.0.1", "192.168.7.5"])
    monkeypatch.setattr(listening, "_first_address", lambda: "192.168.7.5")
    monkeypatch.setattr(listening.socket, "gethostname", lambda: "Lab-PC")


def test_without_options_only_this_machine_can_connect() -> None:
    here = Listening.choose("127.0.0.1")
    assert here == Listening()
    assert here.dashboard_url(PORTS) == "http://127.0.0.1:8900"
    assert here.gateway_url(PORTS) == "ws://127.0.0.1:8901/ws"
    assert here.origins(PORTS) == ["http://127.0.0.1:8900", "http://localhost:8900"]
    assert not here.unencrypted


def test_listening_on_all_addresses_prints_a_reachable_one_and_allows_pages_of_every_name(
    machine: None,
) -> None:
    everywhere = Listening.choose("0.0.0.0")
    assert everywhere.local == "127.0.0.1"
    assert everywhere.dashboard_url(PORTS) == "http://192.168.7.5:8900"
    assert everywhere.gateway_url(PORTS) == "ws://192.168.7.5:8901/ws"
    assert everywhere.base_url(PORTS.jupyterlab) == "http://192.168.7.5:8903"
    assert set(everywhere.origins(PORTS)) == {
        "http://127.0.0.1:8900",
        "http://localhost:8900",
        "http://192.168.7.5:8900",
        "http://lab-pc:8900",
        "http://lab-pc.local:8900",
    }
    assert everywhere.unencrypted


def test_a_name_is_printed_instead_of_the_address(machine: None) -> None:
    named = Listening.choose("0.0.0.0", name="Monitor.Example.org")
    assert named.dashboard_url(PORTS) == "http://monitor.example.org:8900"
    assert named.gateway_url(PORTS) == "ws://monitor.example.org:8901/ws"
    assert "http://monitor.example.org:8900" in named.origins(PORTS)


def test_port_80_is_omitted_from_origins() -> None:
    assert "http://localhost" in Listening().origins(Ports.choose(8900, api=80))


def test_behind_a_proxy_with_tls_pages_and_gateway_have_its_origin_and_all_is_encrypted() -> None:
    proxied = Listening.choose("127.0.0.1", public_url="https://Monitor.example.org/")
    assert proxied.dashboard_url(PORTS) == "https://monitor.example.org"
    assert proxied.gateway_url(PORTS) == "wss://monitor.example.org/ws"
    assert proxied.origins(PORTS)[0] == "https://monitor.example.org"
    assert not proxied.unencrypted
    assert Listening.choose("127.0.0.1", public_url="http://monitor.example.org").unencrypted


@pytest.mark.parametrize("host", ["198.51.100.7", "lab-pc", "::", ""])
def test_unusable_address_is_refused_with_a_list_of_usable_ones(host: str, machine: None) -> None:
    with pytest.raises(ListeningError, match=r"192\.168\.7\.5.*0\.0\.0\.0"):
        Listening.choose(host)


@pytest.mark.parametrize("name", ["http://lab-pc", "lab-pc:8900", "a b", "-", "", "lab-pc\n"])
def test_name_that_is_not_a_host_name_is_refused(name: str) -> None:
    with pytest.raises(ListeningError, match="without http:// and without a port"):
        Listening.choose("127.0.0.1", name=name)


@pytest.mark.parametrize(
    "url",
    [
        "monitor.example.org",
        "wss://m.org",
        "https://m.org/path",
        "https://me@m.org",
        "https://",
        "https://a b",
        "https://m.org:port",
        "https://m.org?x",
        "",
    ],
)
def test_public_url_that_is_not_an_origin_is_refused_by_the_name_of_its_option(url: str) -> None:
    with pytest.raises(ListeningError, match=r"^--public-url: .* like https://"):
        Listening.choose("127.0.0.1", public_url=url)
