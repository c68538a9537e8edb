"""Hazards: a copy of the database lets its reader join or send; a code holds too long; what somebody types is misread."""

from __future__ import annotations

import string
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.storage.postgres import courses, join_codes, joined_computers

SECRET = "s" * 43
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's Base32."""


async def test_neither_code_nor_secret_nor_name_is_stored(pool, keyring, index):
    await courses.create(pool, "c1", "Physics")
    code = (await join_codes.open_new(pool, index, "c1", timedelta(hours=1))).code
    async with pool.acquire() as connection, connection.transaction():
        await joined_computers.add(connection, keyring, index, course_id="c1", name="Hanako", secret=SECRET)
    bare = code.replace("-", "")
    for table in ("join_codes", "joined_computers", "people", "identities"):
        stored = " ".join(str(tuple(row)) for row in await pool.fetch(f"SELECT * FROM {table}"))
        assert stored
        for text in (code, bare, bare[4:], SECRET, "Hanako"):
            assert text not in stored
            assert text.encode().hex() not in stored


async def test_a_code_that_would_hold_for_longer_than_a_day_is_refused(pool, index):
    await courses.create(pool, "c1", "Physics")
    for lifetime in (timedelta(days=1, seconds=1), timedelta(), timedelta(seconds=-1)):
        with pytest.raises(ValueError, match="at most"):
            await join_codes.open_new(pool, index, "c1", lifetime)
    assert await join_codes.get(pool, index, "c1") is None


@given(st.text(max_size=60))
def test_whatever_is_typed_is_twelve_characters_of_the_alphabet_or_no_code(typed):
    code = join_codes.normalized(typed)
    assert code is None or (len(code) == 12 and set(code) <= set(ALPHABET))


@given(st.text(ALPHABET, min_size=12, max_size=12), st.sampled_from([" ", "-", "\u3000", "\u30fc", ""]), st.booleans())
def test_a_code_is_read_however_it_is_separated_and_in_either_width(code, separator, wide):
    typed = separator.join((code[:4].lower(), code[4:8], code[8:]))
    if wide:
        half_width = string.ascii_letters + string.digits
        typed = "".join(chr(ord(one) + 0xFEE0) if one in half_width else one for one in typed)
    assert join_codes.normalized(typed) == code


@pytest.mark.parametrize("secret", ["", "s" * 42, "s" * 44, "s" * 42 + "\n", "\u00e9" * 43])
async def test_what_is_no_secret_finds_nobody_and_is_not_stored(pool, keyring, index, secret):
    await courses.create(pool, "c1", "Physics")
    async with pool.acquire() as connection, connection.transaction():
        with pytest.raises(ValueError, match="base64url"):
            await joined_computers.add(connection, keyring, index, course_id="c1", name="Hanako", secret=secret)
    assert await joined_computers.find(pool, secret) is None
