"""Hazard: a client that guesses passwords names another client's address with each attempt, and so evades the limit."""

from __future__ import annotations

import httpx
import pytest
from pydantic import ValidationError

from cell_monitor.embedded.process import free_port
from cell_monitor_core.settings import SettingsError
from cell_monitor_testing.processes import ServiceProcess

LIMIT = 5
PROXY = "10.9.8.7"


async def guess(client, number, forwarded_for):
    """Try another account with each number, so that only the limit of the address counts."""
    body = {"username": f"user{number}", "password": "wrong password"}
    return await client.post("/api/v1/auth/login", json=body, headers={"x-forwarded-for": forwarded_for})


def connected_from(site, address):
    transport = httpx.ASGITransport(site.fast_path, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://api.test")


async def test_a_process_on_the_same_machine_cannot_evade_the_limit_by_forged_headers(
    database, valkey, secrets, tmp_path
):
    port = free_port()
    environment = {
        "CELL_MONITOR_API_PORT": str(port),
        "CELL_MONITOR_API_SIGN_IN_PER_ADDRESS": str(LIMIT),
        "CELL_MONITOR_REDIS_URL": valkey,
        "CELL_MONITOR_DATABASE_URL": database,
        # Where the two servers read whose headers to believe.
        "FORWARDED_ALLOW_IPS": "*",
        **secrets.environment,
    }
    api = ServiceProcess("cell_monitor_api", env=environment, port=port, log_path=tmp_path / "api.log")
    async with api, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
        statuses = [(await guess(client, number, f"198.51.100.{number}")).status_code for number in range(LIMIT + 3)]
        assert statuses == [401] * LIMIT + [429] * 3
        secure = await client.post("/api/v1/auth/logout", headers={"x-forwarded-proto": "https"})
        assert "Secure" not in secure.headers["set-cookie"]


@pytest.mark.parametrize("peer", ["10.9.8.6", "127.0.0.1", "unix", "::ffff:10.9.8.7"])
async def test_only_the_configured_proxy_is_believed(make_site, peer):
    async with (
        make_site(api_forwarded_allow_ips=f"{PROXY}, 192.0.2.0/30", api_sign_in_per_address=LIMIT) as site,
        connected_from(site, peer) as client,
    ):
        statuses = [(await guess(client, number, f"198.51.100.{number}")).status_code for number in range(LIMIT + 1)]
        assert statuses == [401] * LIMIT + [429]


async def test_behind_the_proxy_each_client_counts_for_itself(make_site):
    async with (
        make_site(api_forwarded_allow_ips=f"{PROXY}, 192.0.2.0/30", api_sign_in_per_address=LIMIT) as site,
        connected_from(site, PROXY) as client,
        connected_from(site, "192.0.2.2") as other_proxy,
    ):
        for number in range(LIMIT):
            assert (await guess(client, number, "198.51.100.1")).status_code == 401
        assert (await guess(client, 90, "198.51.100.1")).status_code == 429
        assert (await guess(other_proxy, 91, "198.51.100.1")).status_code == 429
        assert (await guess(client, 92, "198.51.100.2")).status_code == 401


async def test_what_a_client_writes_in_front_of_the_proxys_own_entry_does_not_count(make_site):
    async with (
        make_site(api_forwarded_allow_ips=PROXY, api_sign_in_per_address=LIMIT) as site,
        connected_from(site, PROXY) as client,
    ):
        forged = [f"203.0.113.{number}, {PROXY}, 198.51.100.1" for number in range(LIMIT + 1)]
        statuses = [(await guess(client, number, text)).status_code for number, text in enumerate(forged)]
        assert statuses == [401] * LIMIT + [429]


@pytest.mark.parametrize("value", ["*", "0.0.0.0/0", "::/0", "10.0.0.1, *", "proxy.example.org", "10.0.0.1/8", "1.2.3"])
def test_a_setting_that_believes_everybody_or_nobody_by_mistake_is_refused(make_settings, value):
    with pytest.raises((SettingsError, ValidationError), match=r"(?i)api_forwarded_allow_ips"):
        make_settings(api_forwarded_allow_ips=value)
