"""Hazards: a Redis that deletes accepted events is taken into use; a right that is missing shows only at some later request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis
from structlog.testing import capture_logs

from cell_monitor_core.redis_client import aclose, connect
from cell_monitor_core.storage.ports import LogUnavailable
from cell_monitor_core.streams.fitness import RedisFitness, RedisUnfit
from cell_monitor_core.streams.producer import RedisEventProducer

PAGE = (Path(__file__).parents[4] / "docs/operations/datastores.md").read_text("utf-8")
RULES = re.search(r"^    (resetchannels(?:.|\n)+?)\n\n", PAGE, re.MULTILINE).group(1).split()  # type: ignore[union-attr]
PASSWORD = "pw"


@pytest.fixture
def admin(valkey: str) -> Iterator[Any]:
    """The default user; policy and users are put back."""
    client = redis.Redis.from_url(valkey, decode_responses=True)
    before = client.config_get("maxmemory-policy")["maxmemory-policy"]
    yield client
    client.config_set("maxmemory-policy", before)
    client.execute_command("ACL", "DELUSER", "limited")
    client.close()


def limited(valkey: str, admin: Any, *rules: str) -> str:
    """Returns the URL of a user with these rules alone."""
    admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", f">{PASSWORD}", *rules)
    parts = urlsplit(valkey)
    return urlunsplit(parts._replace(netloc=f"limited:{PASSWORD}@{parts.hostname}:{parts.port}"))


async def problem_of(url: str) -> str | None:
    client = connect(url, name="test")
    try:
        fitness = RedisFitness(client)
        await fitness.step()
        return fitness.problem
    finally:
        await aclose(client)


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru"])
async def test_a_redis_that_deletes_no_events_is_fit(valkey, admin, policy):
    admin.config_set("maxmemory-policy", policy)
    assert await problem_of(valkey) is None


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
async def test_a_redis_that_may_delete_events_takes_none_until_it_does_not(valkey, admin, policy):
    client = connect(valkey, name="test")
    producer = RedisEventProducer(client)
    fitness = RedisFitness(client, producer.refuse)
    try:
        admin.config_set("maxmemory-policy", policy)
        with pytest.raises(RedisUnfit, match="maxmemory-policy noeviction"):
            await fitness.check()
        with pytest.raises(LogUnavailable, match="deletes accepted events"):
            await producer.append("course:c1", [(b"0" * 16, b"record")])
        assert admin.keys("*") == []
        admin.config_set("maxmemory-policy", "noeviction")
        await fitness.step()
        await fitness.check()
        assert await producer.append("course:c1", [(b"0" * 16, b"record")]) == ["accepted"]
    finally:
        await producer.aclose()
        await aclose(client)


async def test_the_documented_rights_are_enough(valkey, admin):
    url = limited(valkey, admin, *RULES)
    assert await problem_of(url) is None
    client = connect(url, name="test")
    producer = RedisEventProducer(client)
    try:
        assert await producer.append("course:c1", [(b"0" * 16, b"record")]) == ["accepted"]
    finally:
        await producer.aclose()
        await aclose(client)


IN_SCRIPTS = [
    rule
    for rule in RULES
    if rule.startswith("+") and not re.match(r"\+(ping|client|multi|exec|eval|ssub|sunsub)", rule)
]


@pytest.mark.parametrize("rule", sorted({*IN_SCRIPTS, "+evalsha"}))
async def test_each_right_that_is_missing_is_named(valkey, admin, rule):
    url = limited(valkey, admin, *RULES, f"-{rule[1:]}")
    assert rule[1:].partition("|")[0] in ((await problem_of(url)) or "").lower()


@pytest.mark.parametrize(("without", "named"), [("~cm:*", "access a key"), ("&cm:*", "channels cm:*")])
async def test_keys_and_channels_out_of_reach_are_named(valkey, admin, without, named):
    url = limited(valkey, admin, *(rule for rule in RULES if rule != without))
    assert named in ((await problem_of(url)) or "")


async def test_what_a_managed_service_gives_lacks_info_alone(valkey, admin):
    url = limited(valkey, admin, "~*", "&*", "+@all", "-@admin", "-@dangerous")
    assert "no right to: INFO;" in ((await problem_of(url)) or "")
    assert await problem_of(limited(valkey, admin, "~*", "&*", "+@all", "-@admin", "-@dangerous", "+info")) is None


async def test_what_redis_does_not_say_is_said_to_be_unknown_once(valkey, monkeypatch):
    # Some managed services leave out what is theirs alone; INFO of this server cannot be shortened.
    asked = RedisFitness._info

    async def reticent(self, section):
        hidden = {"maxmemory_policy", "aof_enabled"}
        answers = await asked(self, section)
        return {
            node: {name: value for name, value in info.items() if name not in hidden} for node, info in answers.items()
        }

    monkeypatch.setattr(RedisFitness, "_info", reticent)
    client = connect(valkey, name="test")
    fitness = RedisFitness(client)
    with capture_logs() as lines:
        for _ in range(3):
            await fitness.check()
            await fitness.step()
    await aclose(client)
    assert [line["event"] for line in lines] == ["redis_weak", "redis_weak"]
    assert "maxmemory-policy" in lines[0]["reason"]
    assert "does not say whether it has an append-only file" in lines[1]["reason"]


async def test_each_master_of_a_cluster_is_asked(valkey_cluster, cluster_server):
    client = connect(valkey_cluster, name="test")
    fitness = RedisFitness(client)
    try:
        await fitness.check()
        for node in cluster_server.nodes:
            with redis.Redis(port=node.port, password=node.password) as one:
                one.config_set("maxmemory-policy", "allkeys-lru")
                await fitness.step()
                one.config_set("maxmemory-policy", "noeviction")
            assert fitness.problem is not None
            assert str(node.port) in fitness.problem
        await fitness.step()
        assert fitness.problem is None
    finally:
        await aclose(client)


async def test_an_outage_is_not_taken_for_unfitness(admin):
    assert await problem_of("redis://127.0.0.1:1") is None


async def test_the_probe_leaves_nothing(valkey, admin):
    assert await problem_of(valkey) is None
    assert [key for key in admin.keys("*") if key.startswith("cm:")] == []
