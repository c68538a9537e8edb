"""Hazards: while PostgreSQL does not answer, senders cannot renew their tokens; or somebody sends for longer than they may."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, uuid4, uuid5

import asyncpg
import pytest

from cell_monitor_api.exceptions import HubTokenInvalid
from cell_monitor_api.services import token_exchange
from cell_monitor_api.services.credentials import Proof, TokenWish, Word
from cell_monitor_api.services.known_senders import KnownSenders, Standing
from cell_monitor_api.services.token_exchange import TokenExchange
from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.revocations import KEPT_SECONDS, Revocation, RevocationList
from cell_monitor_core.auth.scopes import Audience
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.auth.tokens import TokenIssuer
from cell_monitor_core.storage.ports import PostgresUnavailable
from cell_monitor_core.storage.postgres import api_keys

WISH = TokenWish(Audience.INGEST)


@asynccontextmanager
async def locked(database, table):
    admin = await asyncpg.connect(database)
    try:
        async with admin.transaction():
            await admin.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await admin.close()


async def renew(site, key):
    return await site.client.post(
        "/api/v1/auth/token", json={"audience": "ingest"}, headers={"authorization": f"ApiKey {key}"}
    )


async def assert_sends(site, answer, make_event):
    assert answer.status_code == 200, answer.text
    event = make_event("heartbeat")
    sent = await site.client.post(
        "/api/v1/events",
        headers={"authorization": f"Bearer {answer.json()['access_token']}"},
        json={"events": [event]},
    )
    assert [result["status"] for result in sent.json()["results"]] == ["accepted"]


async def until(done):
    async with asyncio.timeout(60):
        while not await done():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("table", ["people", "memberships", "api_keys"])
async def test_a_locked_table_of_people_does_not_end_the_sending_of_those_known(site, database, make_event, table):
    await site.course("c1", ann="student")
    _, key = await site.key("events:write", username="ann")
    assert (await renew(site, key)).status_code == 200
    async with locked(database, table):
        answers = await asyncio.gather(*(renew(site, key) for _ in range(30)))
        assert {answer.status_code for answer in answers} == {200}
        # PostgreSQL is asked again soon.
        assert all(answer.json()["expires_in"] <= 60 for answer in answers)
        await assert_sends(site, answers[-1], make_event)


async def test_a_key_that_is_revoked_while_people_are_locked_sends_no_more(site, database, monkeypatch):
    # Nothing but what is known is asked, so that the key's end is not found in its own table.
    monkeypatch.setattr(token_exchange, "_PAUSE_S", 600.0)
    await site.course("c1", ann="student")
    _, key = await site.key("events:write", username="ann")
    assert (await renew(site, key)).status_code == 200
    async with locked(database, "memberships"):
        assert (await renew(site, key)).status_code == 200
        await api_keys.revoke(site.process.pool, key.split("_")[1])

        async def refused():
            return (await renew(site, key)).status_code == 401

        await until(refused)


async def test_exhausted_connections_do_not_end_the_sending_of_those_known(
    make_site, database, make_event, monkeypatch
):
    admin = await asyncpg.connect(database)
    login = f"api_{uuid4().hex}"
    await admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'pw' IN ROLE cell_monitor_api")
    scheme, _, rest = database.partition("//")
    try:
        async with make_site(database_url=f"{scheme}//{login}:pw@{rest.partition('@')[2]}") as site:
            await site.course("c1", ann="student")
            _, key = await site.key("events:write", username="ann")
            assert (await renew(site, key)).status_code == 200
            await admin.execute(f"ALTER ROLE {login} CONNECTION LIMIT 1")
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE usename = $1 AND application_name <> 'cell-monitor-api-revocations'",
                login,
            )

            async def exhausted():
                return (await site.client.get("/api/v1/me", headers=site.bearer("ann"))).status_code == 503

            await until(exhausted)
            await assert_sends(site, await renew(site, key), make_event)
            # Revocations go on being delivered, by the connection that is kept.
            await admin.execute("UPDATE api_keys SET revoked_at = now()")
            await admin.execute("INSERT INTO revocations (subject) SELECT 'key:' || key_id FROM api_keys")

            async def not_renewed():
                return (await renew(site, key)).status_code == 503

            await until(not_renewed)
    finally:
        await admin.execute(f"DROP OWNED BY {login}; DROP ROLE {login}")
        await admin.close()


class Times:
    def __init__(self):
        self.now = 1000.0
        self.delivered = 1000.0


@pytest.fixture
def times():
    return Times()


@pytest.fixture
def revoked():
    return RevocationList()


@pytest.fixture
def known(times, revoked):
    senders = KnownSenders(revoked, lambda: times.delivered, clock=lambda: times.now)
    senders.looked()
    return senders


def standing(**changes):
    return Standing(Proof(uuid4(), is_person=True, credential="key:1", **changes), {"c1": "student"}, 3, Word())


def pass_time(times, known, seconds, *, delivering=True):
    for _ in range(int(seconds / 5)):
        times.now += 5
        if delivering:
            times.delivered = times.now
        known.looked()


def test_a_lesson_goes_on_while_revocations_are_delivered(times, known):
    name = known.name("ApiKey", "k", WISH)
    known.remember(name, standing(), times.now)
    pass_time(times, known, 90 * 60)
    assert known.find(name)[1] == 60
    pass_time(times, known, 24 * 3600)
    assert known.find(name) is None


def test_without_delivery_nobody_sends_longer_than_by_the_token_of_the_last_confirmation(times, known):
    name = known.name("ApiKey", "k", WISH)
    known.remember(name, standing(), times.now)
    pass_time(times, known, 570, delivering=False)
    assert known.find(name)[1] <= 30
    pass_time(times, known, 30, delivering=False)
    assert known.find(name) is None


@pytest.mark.parametrize("what", ["generation", "credential"])
def test_who_was_revoked_is_not_known_again_when_the_revocation_is_forgotten(times, known, revoked, what):
    name, sender = known.name("ApiKey", "k", WISH), standing()
    known.remember(name, sender, times.now)
    revoked.add([Revocation(str(sender.proof.subject), 4) if what == "generation" else Revocation("key:1")], times.now)
    assert known.find(name) is None
    pass_time(times, known, KEPT_SECONDS + 10)
    revoked.prune(times.now)
    assert not len(revoked)
    assert known.find(name) is None


def test_nobody_is_known_where_revocations_were_not_looked_at(times, known):
    name = known.name("ApiKey", "k", WISH)
    known.remember(name, standing(), times.now)
    times.now += 400
    times.delivered = times.now
    assert known.find(name) is None
    known.looked()
    assert known.find(name) is None


def test_a_key_that_ended_by_itself_is_not_known(times, known):
    name = known.name("ApiKey", "k", WISH)
    known.remember(name, standing(expires_at=datetime.now(UTC) - timedelta(seconds=1)), times.now)
    assert known.find(name) is None


def test_each_credential_and_wish_is_known_by_itself(known):
    names = {
        known.name("ApiKey", "k", WISH),
        known.name("Join", "k", WISH),
        known.name("ApiKey", "l", WISH),
        known.name("ApiKey", "k", TokenWish(Audience.INGEST, act_as="ann")),
        known.name("ApiKey", "k", TokenWish(Audience.INGEST, server="ann")),
    }
    assert len(names) == 5


class Hub:
    """A scheme of which somebody else is asked, before a PostgreSQL that may be unavailable."""

    scheme = "Hub"
    grant = Grant.HUB_SERVER
    word = Word("ann, group-1", 45)
    unavailable = False

    async def ask(self, credential, wish):
        if isinstance(self.word, Exception):
            raise self.word
        return self.word

    async def verify(self, credential, wish):
        if self.unavailable:
            raise ConnectionRefusedError
        return Proof(uuid5(NAMESPACE_URL, "ann"), is_person=False, lifetime_s=45)


async def test_what_the_hub_says_now_counts_although_postgresql_does_not_answer(known, times, secrets):
    hub = Hub()
    exchange = TokenExchange(
        None, TokenIssuer(SigningKeys.load(secrets.signing_keys)), [hub], known, clock=lambda: times.now
    )
    assert (await exchange.exchange("Hub token", WISH)).expires_in == 45
    hub.unavailable = True
    hub.word = Word("ann, group-1", 20)
    assert (await exchange.exchange("Hub token", WISH)).expires_in == 20
    with pytest.raises(PostgresUnavailable):
        await exchange.exchange("Hub another", WISH)
    hub.word = Word("ann, group-2", 45)
    with pytest.raises(PostgresUnavailable):
        await exchange.exchange("Hub token", WISH)
    hub.word = HubTokenInvalid("JupyterHub does not know this token")
    with pytest.raises(HubTokenInvalid):
        await exchange.exchange("Hub token", WISH)
