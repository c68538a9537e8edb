"""Hazard: a channel or an HTTP route of the gateway is opened to a caller who may not use it.

The tables below were typed from docs/dev/contracts.md and docs/adr/0009, never computed from the code: every kind of
channel is tried with every request that names a channel, on a real gateway.
"""

from __future__ import annotations

import time
import typing
import uuid
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import pytest
from fastapi.routing import iter_route_contexts
from websockets.exceptions import InvalidStatus

from cell_monitor.embedded.process import free_port
from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.roles import Role
from cell_monitor_core.auth.scopes import Scope
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.auth.tokens import TokenIssuer
from cell_monitor_core.channels import CHANNEL_KINDS, parse_channel
from cell_monitor_gateway import protocol
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_gateway.process import GatewayProcess

CHANNELS = """
                           course:c1 test:t1
student                    no        no
observer                   yes       no
assistant                  yes       no
instructor                 yes       no
outsider                   no        no
stranger                   no        no
admin                      yes       yes
service:events:write       no        no
service:test:write         no        yes
service:people:act_as      no        no
service:roster:write       no        no
service:courses:read       yes       no
service:admin              yes       yes
instructor's:events:write  no        no
instructor's:test:write    no        yes
instructor's:people:act_as no        no
instructor's:roster:write  no        no
instructor's:courses:read  yes       no
instructor's:admin         yes       no
student's:courses:read     no        no
outsider's:courses:read    no        no
expired                    3005      3005
ingest                     3500      3500
api                        3500      3500
forged                     3500      3500
no-scopes                  no        no
no-grant                   3500      3500
"""
"""Rows: people by role in c1 (``outsider`` is an instructor of another course), services' keys and people's keys by
scope, and tokens of an admin that are not valid here: ``ingest`` and ``api`` are for another audience, ``forged`` is
signed with another key, ``no-scopes`` made by an API key without a scope, ``no-grant`` does not say how. ``yes``: subscribed; ``no``: the error permission_denied; a number: how the connection ends."""

ROUTES = {
    ("GET", "/livez"): 200,
    ("GET", "/readyz"): 200,
    ("GET", "/metrics"): 200,
}
"""HTTP routes; they need no token."""

CHANNEL_REQUESTS = {"subscribe", "presence"}
"""Requests that name a channel and need the right to it; ``unsubscribe`` needs none."""

SERVICE = "0d1e5bd3-4d6c-5f8a-9d6a-8a2b7e7d7a11"
"""Subject of the tokens of a key that belongs to nobody."""


def _rows() -> dict[str, dict[str, str]]:
    head, *lines = CHANNELS.strip().splitlines()
    return {line.split()[0]: dict(zip(head.split(), line.split()[1:], strict=True)) for line in lines}


EXPECTED = _rows()


def _token(authority: Any, identity: str) -> str:
    """Return the token that an identity gets, as the API issues it."""
    admin: dict[str, Any] = {"courses": {"c1": "instructor"}, "admin": True}
    owner, _, scope = identity.partition(":")
    match identity:
        case "student" | "observer" | "assistant" | "instructor":
            return str(authority.token({"c1": identity}))
        case "outsider":
            return str(authority.token({"c2": "instructor"}))
        case "stranger":
            return str(authority.token({}))
        case "admin":
            return str(authority.token({}, admin=True))
        case "expired":
            issuer = TokenIssuer(authority.signing_keys, clock=lambda: time.time() - 3600)
            return issuer.issue(grant=Grant.SESSION, person_id=uuid.uuid4(), audience=["gateway"], **admin)[0]
        case "ingest" | "api":
            return str(authority.token(audience=identity, **admin))
        case "forged":
            issuer = TokenIssuer(SigningKeys.generate())
            return issuer.issue(grant=Grant.SESSION, person_id=uuid.uuid4(), audience=["gateway"], **admin)[0]
        case "no-scopes":
            issuer = TokenIssuer(authority.signing_keys)
            return issuer.issue(grant=Grant.API_KEY, person_id=uuid.uuid4(), audience=["gateway"], **admin)[0]
        case "no-grant":
            now = int(time.time())
            claims = {"iss": "cell-monitor", "sub": str(uuid.uuid4()), "aud": ["gateway"], "iat": now, "exp": now + 600}
            claims |= {"jti": "x", "scopes": [], **admin}
            headers = {"kid": authority.signing_keys.active}
            return jwt.encode(claims, authority.signing_keys.private_key, "EdDSA", headers)
    if owner == "service":
        return str(authority.token({}, scopes=(scope,), person=SERVICE, admin=scope == "admin"))
    courses = {"c2": "instructor"} if owner == "outsider's" else {"c1": owner.removesuffix("'s")}
    return str(authority.token(courses, scopes=(scope,)))


def _requests_with_a_channel() -> set[str]:
    return {
        request.__struct_config__.tag
        for request in typing.get_args(protocol.Request)
        if "channel" in request.__struct_fields__
    }


def test_every_kind_of_channel_request_role_and_scope_is_in_the_table() -> None:
    assert _requests_with_a_channel() - {"unsubscribe"} == CHANNEL_REQUESTS
    kinds = {column.partition(":")[0] for column in next(iter(EXPECTED.values()))}
    assert kinds == CHANNEL_KINDS
    assert set(Role) <= set(EXPECTED)
    for scope in Scope:
        assert {f"service:{scope}", f"instructor's:{scope}"} <= set(EXPECTED)


def test_a_channel_of_no_known_kind_is_no_channel() -> None:
    with pytest.raises(ValueError, match="not a channel"):
        parse_channel("admin:c1")


async def test_who_may_use_each_channel(gateway: Any, connect_client: Any, authority: Any) -> None:
    wrong = []
    for identity, outcomes in EXPECTED.items():
        token = _token(authority, identity)
        for channel, expected in outcomes.items():
            client = await connect_client(gateway, token=None)
            client.next_id = 1
            await client.send(type="connect", id=1, token=token)
            if expected.isdigit():
                assert (await client.closed())[0] == int(expected), identity
                continue
            assert (await client.next_frame())["type"] == "connected"
            for request in sorted(CHANNEL_REQUESTS):
                reply = await client.request(request, channel=channel)
                outcome = "yes" if reply["type"] in {"subscribed", "presence"} else reply["error"]["type"]
                if outcome != {"yes": "yes", "no": "permission_denied"}[expected]:
                    wrong.append(f"{identity}: {request} {channel}: {outcome}, not {expected}")
    assert not wrong, "\n".join(wrong)


async def test_nobody_asks_for_a_channel_before_a_token_was_shown(gateway: Any, connect_client: Any) -> None:
    for request in CHANNEL_REQUESTS:
        for channel in next(iter(EXPECTED.values())):
            client = await connect_client(gateway, token=None)
            await client.send(type=request, id=1, channel=channel)
            assert (await client.closed())[0] == 3501


def _routes_of_the_gateway() -> set[tuple[str, str]]:
    settings = GatewaySettings(redis_url="redis://127.0.0.1:9", jwks_url="http://127.0.0.1:9/jwks.json")
    return {
        (method, route.path)
        for route in iter_route_contexts(GatewayProcess.from_settings(settings).app._api.routes)
        for method in (route.methods or {"every method"}) - {"HEAD"}
    }


async def test_every_http_route_is_in_the_table_and_answers_as_it_says(gateway: Any) -> None:
    assert _routes_of_the_gateway() == set(ROUTES)
    async with httpx.AsyncClient(base_url=gateway.http, trust_env=False) as client:
        for path in ("/", "/ws", "/internal/drain", "/api/v1/me", "/openapi.json", "/docs"):
            assert (await client.get(path)).status_code == 404, path
        # Nothing that comes over the network ends a gateway's work; releases before had this route.
        assert (await client.post("/internal/drain")).status_code == 404
        for (method, path), status in ROUTES.items():
            assert (await client.request(method, path)).status_code == status, path


async def test_probes_and_metrics_answer_at_the_inside_port_only(
    start_gateway: Any, connect_client: Any, authority: Any, valkey: str
) -> None:
    inside = free_port()
    gateway = await start_gateway(valkey, gateway_inside_port=inside)
    async with httpx.AsyncClient(trust_env=False) as client:
        for _, path in ROUTES:
            assert (await client.get(f"http://127.0.0.1:{inside}{path}")).status_code == 200, path
            assert (await client.get(f"{gateway.http}{path}")).status_code == 404, path
        # The live page's connection is at the other port, and only there.
        await (await connect_client(gateway)).request("subscribe", channel="course:c1")
        with pytest.raises(InvalidStatus):
            await connect_client(_Address(f"ws://127.0.0.1:{inside}/ws"), token=None)


@dataclass
class _Address:
    """What a client connects to."""

    url: str


async def test_a_websocket_opens_at_its_own_path_only(gateway: Any, connect_client: Any) -> None:
    for path in ("/", "/ws/", "/livez"):
        with pytest.raises(InvalidStatus):
            await connect_client(_Address(gateway.url.removesuffix("/ws") + path), token=None)
