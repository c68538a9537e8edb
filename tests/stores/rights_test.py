"""Hazard: Redis 7 words a missing right otherwise than Valkey, and the services take it into use or do not name it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from cell_monitor_core.redis_client import Script, aclose, connect, reason_of, run_script
from cell_monitor_core.streams.fitness import RedisFitness
from cell_monitor_testing.installed_programs import InstalledServer, running_redis
from cell_monitor_testing.servers import temporary_directory

pytestmark = pytest.mark.stores

ADMIN = "administrator"


@pytest.fixture(scope="module")
def server() -> Iterator[InstalledServer]:
    with (
        temporary_directory("rights") as folder,
        running_redis(folder, "default off ~* &* +@all", f"{ADMIN} on >pw ~* &* +@all", tls=False) as running,
    ):
        yield running


async def problem_of(server: InstalledServer, *rules: str) -> str:
    with redis.Redis(port=server.port, username=ADMIN, password="pw") as admin:
        admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">pw", *rules)
    client = connect(f"redis://limited:pw@127.0.0.1:{server.port}", name="test")
    try:
        fitness = RedisFitness(client)
        await fitness.step()
        return (fitness.problem or "").lower()
    finally:
        await aclose(client)


async def test_each_right_that_is_missing_is_named_by_redis_7_too(
    server: InstalledServer, documented_rules: Any
) -> None:
    assert await problem_of(server, *documented_rules) == ""
    needed = [
        rule
        for rule in documented_rules
        if rule.startswith("+") and not re.match(r"\+(ping|client|multi|exec|eval|ssub|sunsub)", rule)
    ]
    assert len(needed) > 30
    for rule in [*needed, "+evalsha"]:
        problem = await problem_of(server, *documented_rules, f"-{rule[1:]}")
        assert rule[1:].partition("|")[0] in problem, rule
    for rule, named in (("~cm:*", "keys"), ("&cm:*", "channels cm:*")):
        assert named in await problem_of(server, *(kept for kept in documented_rules if kept != rule))


async def test_without_info_no_events_are_taken_and_the_right_is_named(server: InstalledServer) -> None:
    managed = ["~*", "&*", "+@all", "-@admin", "-@dangerous"]
    assert "no right to: info;" in await problem_of(server, *managed)
    assert await problem_of(server, *managed, "+info") == ""


async def test_a_right_that_a_script_lacks_is_in_the_reason_that_is_logged(server: InstalledServer) -> None:
    script = Script("return redis.call('XLEN', KEYS[1])")
    with redis.Redis(port=server.port, username=ADMIN, password="pw") as admin:
        admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">pw", "~*", "+@all", "-xlen")
    client = connect(f"redis://limited:pw@127.0.0.1:{server.port}", name="test")
    try:
        with pytest.raises(redis.ResponseError) as refused:
            await run_script(client, script, ["cm:a"], [])
        assert "user executing the script can't run this command" in reason_of(refused.value)
    finally:
        await aclose(client)
