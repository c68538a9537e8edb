"""Hazards: two people with similar names become one; one person becomes two; a subject is stored unencrypted."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.crypto import BlindIndex
from cell_monitor_core.storage.postgres import accounts, courses, identities, memberships, people
from cell_monitor_core.storage.postgres.identities import LOCAL, Identity
from cell_monitor_core.storage.postgres.memberships import Source
from cell_monitor_core.storage.postgres.people import NewPerson

HUB = "https://hub.example.org"
INDEX = BlindIndex(bytes(range(32)))

# Pairs that some folding takes for one: case, NFKC (full width, circled, ligature), NFC and NFD, trailing blanks.
ALIKE = [
    ("tanaka", "Tanaka"),
    ("tanaka", "\uff54\uff41\uff4e\uff41\uff4b\uff41"),
    ("strasse", "stra\u00dfe"),
    ("1user", "\u2460user"),
    ("fi", "\ufb01"),
    ("caf\u00e9", "cafe\u0301"),
    ("ann", "ann "),
    ("ann", " ann"),
    ("ann", "ann\u200b"),
    ("i", "\u0130"),
    ("\u03c3", "\u03c2"),
    ("K", "\u212a"),
    ("a", "a\0"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_names_that_look_alike_have_different_exact_hashes(one: str, other: str) -> None:
    assert INDEX.exact("identity", LOCAL, one) != INDEX.exact("identity", LOCAL, other)


@given(st.text(max_size=20), st.text(max_size=20))
def test_exact_hashes_are_equal_for_equal_bytes_only(one: str, other: str) -> None:
    assert (INDEX.exact("identity", one) == INDEX.exact("identity", other)) == (one == other)


@given(st.lists(st.text(max_size=6), max_size=4), st.lists(st.text(max_size=6), max_size=4))
def test_no_two_lists_of_parts_are_hashed_alike(one: list[str], other: list[str]) -> None:
    assert (INDEX.exact("kind", *one) == INDEX.exact("kind", *other)) == (one == other)


@given(st.text(min_size=1, max_size=10), st.text(max_size=20))
def test_an_exact_hash_is_never_a_folded_one_nor_of_another_kind_or_key(kind: str, value: str) -> None:
    exact = INDEX.exact(kind, value)
    assert exact != INDEX.digest(kind, value)
    assert exact != INDEX.exact(kind + "x", value)
    assert exact != BlindIndex(bytes(range(1, 33))).exact(kind, value)
    assert len(exact) == 32


def test_half_a_surrogate_pair_is_refused_rather_than_replaced() -> None:
    with pytest.raises(UnicodeEncodeError):
        INDEX.exact("identity", "\ud800")


async def test_names_that_look_alike_are_two_people_and_each_is_found(pool, keyring, index) -> None:
    names = sorted({name for pair in ALIKE for name in pair if "\0" not in name})
    ids = await people.upsert_many(pool, keyring, index, [NewPerson(name) for name in names])
    assert len(set(ids)) == len(names)
    # Written again, in another order: the same people.
    again = await people.upsert_many(pool, keyring, index, [NewPerson(name) for name in reversed(names)])
    assert again == ids[::-1]
    for name, person_id in zip(names, ids, strict=True):
        found = await people.find(pool, keyring, index, name)
        assert found is not None
        assert (found.person_id, found.username) == (person_id, name)
    assert await people.find(pool, keyring, index, "TANAKA") is None
    assert {person.username for person in await people.search(pool, keyring, index, "TANAKA")} == {
        "tanaka", "Tanaka", "\uff54\uff41\uff4e\uff41\uff4b\uff41",
    }  # fmt: skip
    assert (await people.search(pool, keyring, index, "Tanaka"))[0].username == "Tanaka"


async def test_the_same_name_of_two_issuers_is_two_people(pool, keyring, index) -> None:
    local = await people.upsert(pool, keyring, index, username="tanaka")
    [hub] = await people.upsert_many(pool, keyring, index, [NewPerson("tanaka")], issuer=HUB)
    assert local != hub
    assert await identities.person_of(pool, index, LOCAL, "tanaka") == local
    assert await identities.person_of(pool, index, HUB, "tanaka") == hub
    assert await identities.person_of(pool, index, HUB + "/", "tanaka") is None
    # A machine that names somebody of this installation never reaches the other one.
    found = await people.find(pool, keyring, index, "tanaka")
    assert found is not None
    assert found.person_id == local


async def test_a_person_may_have_several_identities_and_an_identity_one_person(pool, keyring, index) -> None:
    ann, bob = await people.upsert_many(pool, keyring, index, [NewPerson("ann"), NewPerson("bob")])
    assert await identities.add_many(pool, keyring, index, HUB, [(ann, "a.n"), (bob, "b.b")]) == 2
    assert await identities.add_many(pool, keyring, index, HUB, [(bob, "a.n")]) == 0
    assert await identities.person_of(pool, index, HUB, "a.n") == ann
    assert await identities.of_person(pool, keyring, ann) == [Identity(HUB, "a.n"), Identity(LOCAL, "ann")]
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await identities.add_many(pool, keyring, index, HUB, [(uuid4(), "c")])
    await pool.execute("DELETE FROM people WHERE person_id = $1", ann)
    assert await identities.person_of(pool, index, HUB, "a.n") is None


async def test_a_subject_is_never_stored_unencrypted(pool, keyring, index) -> None:
    await people.upsert_many(pool, keyring, index, [NewPerson("annabelle")], issuer=HUB)
    row = await pool.fetchrow("SELECT * FROM identities")
    assert all(b"nnabelle" not in value for value in row.values() if isinstance(value, bytes))


async def test_people_added_by_several_writers_at_once_are_added_once(pool, keyring, index) -> None:
    names = [NewPerson(f"user{number}") for number in range(60)]

    async def write(batch: list[NewPerson]) -> list[object]:
        async with pool.acquire() as connection, connection.transaction():
            return list(await people.upsert_many(connection, keyring, index, batch))

    results = await asyncio.gather(*(write(names if turn % 2 else names[::-1]) for turn in range(6)))
    assert len({frozenset(ids) for ids in results}) == 1
    assert await pool.fetchval("SELECT count(*) FROM people") == 60
    assert await pool.fetchval("SELECT count(*) FROM identities") == 60


async def test_signing_in_takes_the_exact_name_then_the_only_similar_one_and_never_chooses(
    pool, keyring, index
) -> None:
    lower, upper = await people.upsert_many(pool, keyring, index, [NewPerson("tanaka"), NewPerson("Tanaka")])
    await accounts.set_password(pool, lower, "$1")

    async def account_of(name: str) -> object:
        account = await accounts.find(pool, index, name)
        return None if account is None else account.person_id

    # Only one of the two has a password: nothing is ambiguous.
    assert await account_of("TANAKA") == lower
    assert await account_of("tanaka") == lower
    await accounts.set_password(pool, upper, "$2")
    assert await account_of("tanaka") == lower
    assert await account_of("Tanaka") == upper
    assert await account_of("TANAKA") is None
    assert await account_of("nobody") is None


async def test_a_password_does_not_open_somebody_whom_another_issuer_named(pool, keyring, index) -> None:
    [hub] = await people.upsert_many(pool, keyring, index, [NewPerson("tanaka")], issuer=HUB)
    await accounts.set_password(pool, hub, "$1")
    assert await accounts.find(pool, index, "tanaka") is None


async def test_who_also_comes_from_elsewhere_is_not_one_courses_to_rename(pool, keyring, index) -> None:
    for course in ("c1", "c2"):
        await courses.create(pool, course, course)
    names = ["here", "both", "hub", "left"]
    here, both, hub, left = await people.upsert_many(pool, keyring, index, [NewPerson(name) for name in names])
    await memberships.upsert_many(pool, "c1", dict.fromkeys((here, both, hub, left), "student"))
    await memberships.upsert_many(pool, "c2", {both: "student", left: "student"}, source=Source.HUB)
    await memberships.remove(pool, "c2", left, source=Source.HUB)
    await identities.add_many(pool, keyring, index, HUB, [(hub, "hub")])
    assert await people.belonging_elsewhere(pool, index, [*names, "BOTH", "nobody"], "c1") == [
        False, True, True, False, False, False,
    ]  # fmt: skip
