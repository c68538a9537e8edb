"""Hazards: a key for nobody in particular that should be somebody's, one that never ends, one that is revoked only in part."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from cell_monitor_core.administration.api_keys import ApiKeys
from cell_monitor_core.administration.refusals import Unknown, Unusable
from cell_monitor_core.auth.audit import OPERATOR
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import api_keys, people
from cell_monitor_core.storage.postgres.pool import Connection, connect

KEY = {"name": "lab 3", "scopes": ["events:write"], "lifetime": timedelta(days=30), "by": OPERATOR}


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Connection]:
    connection = await connect(database, application_name="test")
    yield connection
    await connection.close()


@pytest.fixture
async def service(connection: Connection) -> ApiKeys:
    keyring, index = KeyRing({"k1": os.urandom(32)}, "k1"), BlindIndex(os.urandom(32))
    await people.upsert(connection, keyring, index, username="ann")
    return ApiKeys(connection, keyring, index)


@pytest.mark.parametrize(
    ("change", "refusal", "field"),
    [
        ({"scopes": ["events:write", "everything"]}, Unusable, ("scopes",)),
        ({"lifetime": timedelta(days=731)}, Unusable, ("expires_in_days",)),
        ({"lifetime": timedelta()}, Unusable, ("expires_in_days",)),
        ({"owner": "ANN"}, Unknown, ("username",)),
        ({"owner": uuid4()}, Unknown, ("username",)),
    ],
)
async def test_a_key_that_cannot_be_as_wished_is_not_made(
    service: ApiKeys, change: dict[str, Any], refusal: type[Unusable | Unknown], field: tuple[str, ...]
) -> None:
    with pytest.raises(refusal) as refused:
        await service.create(**(KEY | change))
    assert refused.value.field == field
    assert await service.list_all() == []


async def test_a_key_is_made_for_its_owner_listed_and_revoked_once(service: ApiKeys, connection: Connection) -> None:
    made, text = await service.create(
        **(KEY | {"scopes": ["roster:write", "events:write", "events:write"]}), owner="ann"
    )
    assert (made.username, made.key.scopes) == ("ann", ("events:write", "roster:write"))
    again, _ = await service.create(**KEY, owner=made.key.person_id)
    of_service, _ = await service.create(**KEY)
    assert (again.username, of_service.username, of_service.key.person_id) == ("ann", None, None)
    listed = {one.key.key_id: one.username for one in await service.list_all()}
    assert listed == {made.key.key_id: "ann", again.key.key_id: "ann", of_service.key.key_id: None}
    assert (await service.usable(made.key.key_id)).name == "lab 3"
    await service.revoke(made.key.key_id, by=OPERATOR)
    assert await api_keys.verify(connection, text) is None
    for refused in (service.usable(made.key.key_id), service.revoke(made.key.key_id, by=OPERATOR)):
        with pytest.raises(Unknown, match="revoked before"):
            await refused
