"""Hazard: something else than the Hub answers in its place, and what it says counts as the Hub's word."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from cell_monitor_testing.hub_answers import HubAnswer, hub_answering

OWNER = {"kind": "user", "name": "tanaka", "groups": [], "scopes": ["custom:cell-monitor:send"]}
HUB = {"x-jupyterhub-version": "5.5.4", "content-type": "application/json"}


@asynccontextmanager
async def answering(status: int, headers: dict[str, str], body: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives one answer to everything; yields its address and the heads of the requests."""
    heads: list[bytes] = []

    def answer(head: bytes, _body: bytes) -> HubAnswer:
        heads.append(head)
        return status, headers, body

    async with hub_answering(answer) as url:
        yield url, heads


@pytest.fixture
def exchange(make_site) -> Callable[..., Awaitable[tuple[int, str, str | None]]]:
    async def exchange(url: str, token: str = "t0ken") -> tuple[int, str, str | None]:
        async with make_site(api_hub_url=url) as site:
            answer = await site.client.post(
                "/api/v1/auth/token", json={"audience": "ingest"}, headers={"authorization": f"JupyterHub {token}"}
            )
        type_ = "" if answer.status_code == 200 else answer.json()["detail"][0]["type"]
        return answer.status_code, type_, answer.headers.get("retry-after")

    return exchange


async def test_the_hub_s_own_answer_counts_and_the_token_goes_to_it_alone(exchange) -> None:
    async with answering(200, HUB, json.dumps(OWNER).encode()) as (url, heads):
        assert (await exchange(url))[0] == 200
    assert heads[0].startswith(b"GET /hub/api/user HTTP/1.1\r\n")
    assert b"authorization: token t0ken\r\n" in heads[0].replace(b"Authorization", b"authorization")


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_that_the_hub_does_not_know_is_refused(exchange, status: int) -> None:
    async with answering(status, HUB, b'{"status": 403, "message": "Forbidden"}') as (url, _):
        assert (await exchange(url))[:2] == (401, "invalid_hub_token")


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, {"content-type": "text/html"}, b"<html>Sign in</html>"),
        (200, {"content-type": "application/json"}, json.dumps(OWNER).encode()),
        (403, {"content-type": "text/html"}, b"<html>Forbidden by policy</html>"),
        (302, {**HUB, "location": "http://127.0.0.1:9/"}, b""),
        (404, HUB, b"{}"),
        (500, HUB, b"{}"),
        (200, HUB, b"[" * 100_000),
        (200, HUB, b'{"kind": "user"}'),
        (200, HUB, b'{"kind": "user", "name": "\xff"}'),
        (200, HUB, b'{"padding": "' + b"x" * 300_000 + b'"}'),
    ],
)
async def test_an_answer_of_a_proxy_or_of_a_broken_hub_proves_nothing_and_refuses_nobody_permanently(
    exchange, status: int, headers: dict[str, str], body: bytes
) -> None:
    async with answering(status, headers, body) as (url, _):
        found = await exchange(url)
    assert found[:2] == (503, "hub_unavailable")
    assert 1 <= int(found[2] or 0) <= 30


async def test_a_hub_that_is_not_there_is_said_at_once(exchange) -> None:
    assert (await exchange("http://127.0.0.1:9/hub/api"))[:2] == (503, "hub_unavailable")


async def test_many_requests_of_one_server_ask_the_hub_once(make_site) -> None:
    async with answering(200, HUB, json.dumps(OWNER).encode()) as (url, heads), make_site(api_hub_url=url) as site:
        answers = await asyncio.gather(
            *(
                site.client.post(
                    "/api/v1/auth/token", json={"audience": "ingest"}, headers={"authorization": "JupyterHub t0ken"}
                )
                for _ in range(20)
            )
        )
    assert {answer.status_code for answer in answers} == {200}
    assert len(heads) == 1


async def test_without_a_hub_its_scheme_is_not_accepted(site) -> None:
    answer = await site.client.post(
        "/api/v1/auth/token", json={"audience": "ingest"}, headers={"authorization": "JupyterHub t0ken"}
    )
    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (401, "not_authenticated")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_hub_url", "hub:8081"),
        ("api_hub_group_pattern", "course-(?P<course>.+"),
        ("api_hub_group_pattern", "course-(?P<course>.+)"),
        ("api_hub_roles", {"teacher": "boss"}),
        ("api_hub_send_scope", "access:servers"),
        # A user of the Hub would be a local account, or somebody who joined by code.
        ("api_hub_issuer", "local"),
        ("api_hub_issuer", "join"),
        ("api_extension_wheel", "/etc/hostname"),
    ],
)
def test_a_setting_that_cannot_work_stops_the_start(make_settings, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        make_settings(**{name: value})
