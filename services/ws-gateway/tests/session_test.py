"""What a client may and may not do, against a real gateway process."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.revocations import Revocation
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.redis_client import aclose
from cell_monitor_core.redis_client import connect as connect_redis
from cell_monitor_core.streams.revocations import RedisRevocations

SERVICE = "0d1e5bd3-4d6c-5f8a-9d6a-8a2b7e7d7a11"
"""Subject of a token that comes from a key of nobody."""


async def status_of(gateway: Any, **options: Any) -> tuple[int, Any]:
    options.setdefault("subprotocols", ["cell-monitor.v1"])
    with pytest.raises(InvalidStatus) as caught:
        await connect(gateway.url, **options)
    body = caught.value.response.body
    return caught.value.response.status_code, json.loads(body) if body else None


async def test_the_connected_reply_names_the_ping_interval_and_the_tokens_expiry(
    gateway: Any, connect_client: Any, authority: Any
) -> None:
    client = await connect_client(gateway, token=None)
    before = time.time()
    reply = await client.request("connect", token=authority.token(lifetime=300))
    assert client.socket.subprotocol == "cell-monitor.v1"
    assert (reply["type"], reply["ping_interval_s"]) == ("connected", 25)
    expires = datetime.fromisoformat(reply["expires_at"]).timestamp()
    assert before + 298 <= expires <= time.time() + 301


async def test_a_client_of_another_protocol_is_refused_with_the_reason(gateway: Any) -> None:
    for offered in (None, ["cell-monitor.v2"]):
        status, body = await status_of(gateway, subprotocols=offered)
        assert status == 400
        assert body["detail"][0]["type"] == "unsupported_subprotocol"


async def test_pages_of_foreign_origins_may_not_connect(start_gateway: Any, connect_client: Any, valkey: str) -> None:
    gateway = await start_gateway(valkey, allowed_origins="https://monitor.example.org, http://localhost:8900")
    assert (await status_of(gateway, origin="https://evil.example.org"))[0] == 403
    assert (await status_of(gateway, origin="https://monitor.example.org.evil.org"))[0] == 403
    assert (await status_of(gateway, origin="null"))[0] == 403
    for origin in ("https://monitor.example.org", "http://localhost:8900", None):
        await connect_client(gateway, origin=origin)


async def test_without_a_list_only_the_gateways_own_pages_may_connect(gateway: Any, connect_client: Any) -> None:
    assert (await status_of(gateway, origin="https://evil.example.org"))[0] == 403
    assert (await status_of(gateway, origin=f"http://127.0.0.1:{gateway.port + 1}"))[0] == 403
    await connect_client(gateway, origin=f"http://127.0.0.1:{gateway.port}")


async def test_only_one_path_is_a_websocket(gateway: Any) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(gateway.url + "x", subprotocols=["cell-monitor.v1"])  # type: ignore[list-item]
    assert caught.value.response.status_code in (403, 404)


async def test_a_client_that_sends_nothing_is_closed_as_stale(
    start_gateway: Any, connect_client: Any, valkey: str
) -> None:
    gateway = await start_gateway(valkey, gateway_connect_timeout_s=0.5)
    client = await connect_client(gateway, token=None)
    code, disconnect = await client.closed()
    assert code == 3502
    assert disconnect is not None
    assert disconnect["reason"] == "stale"
    assert disconnect["reconnect_after_ms"] is None


@pytest.mark.parametrize(
    "frame",
    [
        "no json",
        '{"type":"subscribe","id":1,"channel":"course:c1"}',
        '{"type":"pong"}',
        b'{"type":"connect","id":1,"token":"x"}',
        '{"type":"nonsense","id":1}',
    ],
)
async def test_a_first_frame_that_is_no_connect_ends_the_connection(
    gateway: Any, connect_client: Any, frame: str | bytes
) -> None:
    client = await connect_client(gateway, token=None)
    await client.socket.send(frame)
    assert (await client.closed())[0] == 3501


async def test_a_second_connect_ends_the_connection(gateway: Any, connect_client: Any, authority: Any) -> None:
    client = await connect_client(gateway)
    await client.send(type="connect", id=9, token=authority.token())
    assert (await client.closed())[0] == 3501


async def test_a_frame_over_16_kib_ends_the_connection(gateway: Any, connect_client: Any) -> None:
    client = await connect_client(gateway)
    await client.socket.send('{"type":"pong","pad":"' + "x" * 17_000 + '"}')
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(client.socket.recv(), 60)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code in (1009, 3501)


async def test_tokens_of_other_issuers_audiences_and_forged_ones_are_refused(
    gateway: Any, connect_client: Any, authority: Any
) -> None:
    from cell_monitor_core.auth.tokens import TokenIssuer

    stranger = TokenIssuer(SigningKeys.generate()).issue(
        grant=Grant.SESSION, person_id=uuid.uuid4(), audience=["gateway"]
    )[0]
    valid = authority.token()
    head, payload, signature = valid.split(".")
    for token in (
        "x",
        "a.b.c",
        stranger,
        authority.token(audience="api"),
        f"{head}.{payload}.{signature[:-4]}AAAA",
        f"{head}.{payload}.",
    ):
        client = await connect_client(gateway, token=None)
        await client.send(type="connect", id=1, token=token)
        assert (await client.closed())[0] == 3500, token


async def test_a_token_of_another_installation_with_the_same_keys_is_refused(
    start_gateway: Any, connect_client: Any, authority: Any, valkey: str
) -> None:
    gateway = await start_gateway(valkey, token_issuer="https://monitor.example.org")
    client = await connect_client(gateway, token=None)
    await client.send(type="connect", id=1, token=authority.token())
    assert (await client.closed())[0] == 3500


async def test_a_key_that_is_newer_than_the_gateway_is_fetched(
    gateway: Any, connect_client: Any, authority: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority, "signing_keys", authority.signing_keys.with_new_key())
    await connect_client(gateway)


async def test_a_gateway_without_keys_is_not_ready_and_lets_clients_reconnect(
    start_gateway: Any, connect_client: Any, authority: Any, valkey: str
) -> None:
    gateway = await start_gateway(valkey, wait=False, jwks_url="http://127.0.0.1:9/jwks.json")
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        deadline = time.monotonic() + 60
        while True:
            try:
                ready = await http.get("/readyz")
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
    assert ready.status_code == 503
    assert "jwks: KeysNotFetched" in ready.text
    client = await connect_client(gateway, token=None)
    await client.send(type="connect", id=1, token=authority.token())
    code, disconnect = await client.closed()
    assert code < 3500
    assert disconnect["reconnect_after_ms"] >= 0


async def test_an_expired_token_closes_so_that_the_client_reconnects(
    gateway: Any, connect_client: Any, authority: Any
) -> None:
    # Long enough for a busy machine to connect and to subscribe before it expires.
    client = await connect_client(gateway, token=authority.token(lifetime=10))
    assert (await client.request("subscribe", channel="course:c1"))["recovered"]
    code, disconnect = await client.closed()
    assert code == 3005
    assert disconnect is not None
    assert disconnect["reconnect_after_ms"] >= 0
    late = await connect_client(gateway, token=None)
    old = authority.token(lifetime=1)
    while time.time() < json_exp(old):
        await asyncio.sleep(0.05)
    await late.send(type="connect", id=1, token=old)
    assert (await late.closed())[0] == 3005


def json_exp(token: str) -> float:
    payload = token.split(".")[1]
    return float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])


async def test_a_revoked_token_ends_its_connections_within_seconds_and_no_others(
    gateway: Any, connect_client: Any, authority: Any, valkey: str
) -> None:
    person, other = (str(uuid.uuid4()) for _ in range(2))
    removed = await connect_client(gateway, token=authority.token(person=person))
    renewed = await connect_client(gateway, token=authority.token(person=person, generation=1))
    signed_out = await connect_client(gateway, token=authority.token(person=other, credential="session:a"))
    elsewhere = await connect_client(gateway, token=authority.token(person=other, credential="session:b"))
    redis = connect_redis(valkey, name="test")
    await RedisRevocations(redis).append([Revocation(person, 1), Revocation("session:a")])
    await aclose(redis)
    assert [(await client.closed())[0] for client in (removed, signed_out)] == [3005, 3005]
    for client in (renewed, elsewhere):
        assert (await client.request("subscribe", channel="course:c1"))["type"] == "subscribed"
    refused = await connect_client(gateway, token=None)
    await refused.send(type="connect", id=1, token=authority.token(person=person))
    assert (await refused.closed())[0] == 3005


async def test_a_refreshed_token_outlives_the_first(
    gateway: Any, connect_client: Any, authority: Any, publisher: Any
) -> None:
    person = str(uuid.uuid4())
    # Long enough for a busy machine to connect and to refresh before it expires.
    first = authority.token(lifetime=10, person=person)
    client = await connect_client(gateway, token=first)
    await client.request("subscribe", channel="course:c1")
    reply = await client.request("refresh", token=authority.token(person=person))
    assert reply["type"] == "refreshed"
    while time.time() < json_exp(first) + 1:
        await asyncio.sleep(0.05)
    await publisher.publish()
    assert len(await client.publications(1)) == 1


async def test_a_refresh_cannot_change_the_person_and_an_invalid_one_changes_nothing(
    gateway: Any, connect_client: Any, authority: Any
) -> None:
    client = await connect_client(gateway)
    reply = await client.request("refresh", token="nonsense")
    assert (reply["type"], reply["error"]["type"]) == ("error", "invalid_token")
    assert (await client.request("presence", channel="course:c1"))["type"] == "presence"
    await client.send(type="refresh", id=8, token=authority.token())
    assert (await client.closed())[0] == 3500


async def test_a_refreshed_token_without_the_role_closes_the_connection(
    gateway: Any, connect_client: Any, authority: Any
) -> None:
    person = str(uuid.uuid4())
    client = await connect_client(gateway, token=authority.token(person=person))
    await client.request("subscribe", channel="course:c1")
    await client.send(type="refresh", id=8, token=authority.token({"c1": "student"}, person=person))
    assert (await client.closed())[0] == 3507


@pytest.mark.parametrize(
    ("token_of", "channel", "allowed"),
    [
        ({"courses": {"c1": "instructor"}}, "course:c1", True),
        ({"courses": {"c1": "assistant"}}, "course:c1", True),
        ({"courses": {"c1": "observer"}}, "course:c1", True),
        ({"courses": {"c1": "student"}}, "course:c1", False),
        ({"courses": {"c2": "instructor"}}, "course:c1", False),
        ({"courses": {}}, "course:c1", False),
        ({"courses": {}, "admin": True}, "course:c1", True),
        ({"courses": {"c1": "instructor"}}, "test:t1", False),
        ({"courses": {}, "scopes": ("test:write",)}, "test:t1", True),
        ({"courses": {}, "scopes": ("test:write",)}, "course:c1", False),
        ({"courses": {"c1": "instructor"}, "scopes": ("test:write",)}, "course:c1", False),
        ({"courses": {"c1": "instructor"}, "scopes": ("courses:read",)}, "course:c1", True),
        ({"courses": {"c1": "instructor"}, "scopes": ("admin",)}, "course:c1", True),
        ({"courses": {}, "scopes": ("courses:read",)}, "course:c1", False),
        ({"courses": {}, "scopes": ("courses:read",), "person": SERVICE}, "course:c1", True),
        ({"courses": {}, "scopes": ("test:write",), "person": SERVICE}, "course:c1", False),
        ({"courses": {}, "scopes": ("courses:read",), "person": SERVICE}, "test:t1", False),
        ({"courses": {}, "admin": True}, "test:t1", True),
    ],
)
async def test_who_may_watch_what(
    gateway: Any, connect_client: Any, authority: Any, token_of: Any, channel: str, allowed: bool
) -> None:
    client = await connect_client(gateway, token=authority.token(**token_of))
    for kind in ("subscribe", "presence"):
        reply = await client.request(kind, channel=channel)
        if allowed:
            assert reply["type"] != "error", reply
        else:
            assert reply["error"]["type"] == "permission_denied"


async def test_a_denied_channel_reveals_nothing_of_what_happens_there(
    gateway: Any, connect_client: Any, publisher: Any
) -> None:
    await publisher.publish(3, course="c2")
    client = await connect_client(gateway)
    reply = await client.request("subscribe", **await publisher.position("c2"))
    assert set(reply) == {"type", "id", "error"}
    await client.request("subscribe", channel="course:c1")
    await publisher.publish(1, course="c2")
    await publisher.publish(1, course="c1")
    assert [one["channel"] for one in await client.publications(1)] == ["course:c1"]


async def test_requests_that_make_no_sense_are_refused_one_by_one(gateway: Any, connect_client: Any) -> None:
    client = await connect_client(gateway)
    for fields, kind in (
        ({"channel": "nothing"}, "invalid_channel"),
        ({"channel": "course:C 1"}, "invalid_channel"),
        ({"channel": "course:c1", "epoch": "x"}, "invalid_position"),
        ({"channel": "course:c1", "offset": 3}, "invalid_position"),
    ):
        assert (await client.request("subscribe", **fields))["error"]["type"] == kind
    assert (await client.request("unsubscribe", channel="course:c1"))["type"] == "unsubscribed"
    assert (await client.request("subscribe", channel="course:c1"))["recovered"]


async def test_subscriptions_of_one_connection_are_bounded(
    start_gateway: Any, connect_client: Any, authority: Any, valkey: str
) -> None:
    gateway = await start_gateway(valkey, gateway_max_subscriptions=2)
    client = await connect_client(gateway, token=authority.token({}, admin=True))
    for number in (1, 2):
        assert (await client.request("subscribe", channel=f"course:c{number}"))["type"] == "subscribed"
    assert (await client.request("subscribe", channel="course:c3"))["error"]["type"] == "too_many_subscriptions"
    # The same one again is not one more.
    assert (await client.request("subscribe", channel="course:c2"))["type"] == "subscribed"
    await client.request("unsubscribe", channel="course:c1")
    assert (await client.request("subscribe", channel="course:c3"))["type"] == "subscribed"


async def test_a_flood_of_requests_ends_the_connection_and_no_other(
    start_gateway: Any, connect_client: Any, valkey: str
) -> None:
    gateway = await start_gateway(valkey, gateway_requests_per_s=1, gateway_request_burst=10)
    quiet, loud = await connect_client(gateway), await connect_client(gateway)

    async def flood() -> None:
        for number in range(200):
            await loud.send(type="unsubscribe", id=number, channel="course:c1")

    flooding = asyncio.create_task(flood())
    assert (await loud.closed())[0] == 3013
    await asyncio.gather(flooding, return_exceptions=True)
    assert (await quiet.request("subscribe", channel="course:c1"))["type"] == "subscribed"


async def metric(gateway: Any, name: str) -> float:
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        text = (await http.get("/metrics")).text
    return float(text.split(f"\n{name} ")[1].split()[0])


async def test_a_full_gateway_accepts_no_more_and_asks_clients_to_retry(
    start_gateway: Any, connect_client: Any, valkey: str
) -> None:
    gateway = await start_gateway(valkey, gateway_max_connections=2)
    first = await connect_client(gateway)
    second = await connect_client(gateway)
    with pytest.raises(InvalidStatus) as caught:
        await connect_client(gateway)
    answer = caught.value.response
    # A failed handshake is what browsers retry; after a close code of 3500 or more they would not reconnect.
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert json.loads(answer.body or b"")["detail"][0]["type"] == "connection_limit"
    assert await metric(gateway, "cell_monitor_gateway_connections") == 2
    assert await metric(gateway, 'cell_monitor_gateway_refused_total{reason="connection_limit"}') == 1
    assert (await second.request("subscribe", channel="course:c1"))["type"] == "subscribed"
    await first.socket.close()
    deadline = time.monotonic() + 60
    while True:
        try:
            await connect_client(gateway)
        except InvalidStatus:
            assert time.monotonic() < deadline
            continue
        break


async def test_a_peer_that_stops_answering_pings_is_closed(
    start_gateway: Any, connect_client: Any, valkey: str
) -> None:
    gateway = await start_gateway(valkey, gateway_ping_interval_s=0.5, gateway_pong_timeout_s=10)
    client = await connect_client(gateway)
    answering = await connect_client(gateway)

    async def answer() -> None:
        while True:
            await answering.next_frame()

    task = asyncio.create_task(answer())
    # It reads, but never sends pong.
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(_read_on(client), 60)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 3012
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await answering.request("unsubscribe", channel="course:c1"))["type"] == "unsubscribed"


async def _read_on(client: Any) -> None:
    while True:
        await client.socket.recv()


async def test_presence_counts_watchers_on_all_gateways(start_gateway: Any, connect_client: Any, valkey: str) -> None:
    one, two = await start_gateway(valkey), await start_gateway(valkey)
    first, second = await connect_client(one), await connect_client(two)
    assert (await first.request("presence", channel="course:c1"))["watching"] == 0
    await first.request("subscribe", channel="course:c1")
    await second.request("subscribe", channel="course:c1")
    await _until(lambda: _watching(first), 2)
    await second.socket.close()
    await _until(lambda: _watching(first), 1)


async def _watching(client: Any) -> int:
    return int((await client.request("presence", channel="course:c1"))["watching"])


async def _until(read: Callable[[], Awaitable[int]], wanted: int) -> None:
    deadline = time.monotonic() + 60
    while (value := await read()) != wanted:
        assert time.monotonic() < deadline, value
        await asyncio.sleep(0.1)


async def test_probes_and_metrics_answer(gateway: Any, connect_client: Any) -> None:
    await connect_client(gateway)
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        assert (await http.get("/livez")).status_code == 200
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.get("/ws")).status_code == 404
        text = (await http.get("/metrics")).text
        assert "cell_monitor_gateway_connections 1.0" in text
        assert 'cell_monitor_gateway_closes_total{code="3008"} 0.0' in text
