"""Hazards: the server half sends a credential that is worth more than needed, or gives up where another one would do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from jupyterlab_cell_monitor.credentials import configured_credentials
from jupyterlab_cell_monitor.tokens import ExchangedTokens, TokenRefused

NARROW, OWN = "narrow-token", "server-token"
HUB = {"JUPYTERHUB_API_TOKEN": OWN, "JUPYTERHUB_SERVER_NAME": "lab2", "JUPYTERHUB_USER": "tanaka"}


class Exchange:
    """Takes some credentials and refuses the others."""

    def __init__(self, *good: str, expires_in: int = 60) -> None:
        self.good = set(good)
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self._expires_in = expires_in

    def __call__(self, request: httpx.Request) -> httpx.Response:
        authorization = request.headers["authorization"]
        self.seen.append((authorization, json.loads(request.content)))
        if authorization.partition(" ")[2] in self.good:
            return httpx.Response(200, json={"access_token": f"t{len(self.seen)}", "expires_in": self._expires_in})
        return httpx.Response(401, json={"detail": [{"type": "invalid_hub_token", "msg": "no"}]})

    def tokens(self, clock: list[float], **configured: Any) -> ExchangedTokens:
        options = {"api_key": "", "api_key_file": "", "hub_token": "", "environment": {}} | configured
        credentials = configured_credentials(**options)
        assert credentials is not None
        client = httpx.AsyncClient(transport=httpx.MockTransport(self))
        return ExchangedTokens(client, "http://api.test/token", credentials, lambda: clock[0])


async def test_the_token_made_for_sending_is_used_and_the_server_s_own_is_not_sent() -> None:
    exchange = Exchange(NARROW, OWN)
    assert await exchange.tokens([0.0], hub_token=NARROW, environment=HUB).token() == "t1"
    assert exchange.seen == [(f"JupyterHub {NARROW}", {"audience": "ingest", "server": "lab2"})]


async def test_the_server_s_own_token_is_sent_once_the_other_one_has_ended() -> None:
    exchange = Exchange(OWN)
    assert await exchange.tokens([0.0], hub_token=NARROW, environment=HUB).token() == "t2"
    assert [credential for credential, _ in exchange.seen] == [f"JupyterHub {NARROW}", f"JupyterHub {OWN}"]


async def test_an_api_key_that_was_configured_is_the_only_credential(tmp_path: Path) -> None:
    exchange = Exchange(OWN, NARROW)
    (tmp_path / "key").write_text("cm_key\n")
    tokens = exchange.tokens([0.0], api_key_file=str(tmp_path / "key"), hub_token=NARROW, environment=HUB)
    with pytest.raises(TokenRefused, match="API key"):
        await tokens.token()
    assert [credential for credential, _ in exchange.seen] == ["ApiKey cm_key"]


def test_a_server_without_a_hub_and_without_a_key_has_no_credential() -> None:
    assert configured_credentials("", "", "", {"JUPYTERHUB_USER": "tanaka"}) is None


async def test_a_hub_that_does_not_know_the_server_yet_is_asked_again_soon_and_then_less_often() -> None:
    exchange, clock = Exchange(), [0.0]
    tokens = exchange.tokens(clock, hub_token=NARROW)
    asked = []
    while clock[0] < 120:
        before = len(exchange.seen)
        with pytest.raises(TokenRefused):
            await tokens.token()
        if len(exchange.seen) > before:
            asked.append(clock[0])
        clock[0] += 0.5
    assert asked[:5] == [0.0, 1.0, 3.0, 7.0, 15.0]
    assert asked[5:] == [31.0, 61.0, 91.0]
    exchange.good.add(NARROW)
    clock[0] += 30
    assert await tokens.token()


async def test_servers_that_were_started_together_do_not_renew_together() -> None:
    renewed = set()
    for _ in range(20):
        exchange, clock = Exchange(NARROW), [0.0]
        tokens = exchange.tokens(clock, hub_token=NARROW)
        while len(exchange.seen) < 2:
            await tokens.token()
            clock[0] += 0.25
        renewed.add(clock[0])
    assert len(renewed) > 5
    assert all(30 <= at <= 55 for at in renewed)
