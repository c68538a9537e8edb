"""Hazards: a weak hash, a password refused after composition differs, a missing account that answers otherwise."""

import argon2
import pytest

from cell_monitor_core.auth.passwords import _NOBODY, PasswordHasher, hash_password, verify_password


async def test_hash_and_verify_in_threads():
    hasher = PasswordHasher()
    try:
        stored = await hasher.hash("correct horse")
        assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert await hasher.verify(stored, "correct horse")
        assert not await hasher.verify(stored, "correct horsf")
        assert not await hasher.verify(None, "correct horse")
        assert not hasher.needs_rehash(stored)
    finally:
        hasher.close()


def test_missing_account_costs_the_same_parameters():
    assert argon2.extract_parameters(_NOBODY) == argon2.extract_parameters(hash_password("any password"))


def test_composed_and_decomposed_letters_are_one_password():
    assert verify_password(hash_password("pässwörd"), "pa\u0308sswo\u0308rd")


@pytest.mark.parametrize("password", ["x" * 257, ""])
def test_length_is_bounded(password):
    with pytest.raises(ValueError, match="1 to 256"):
        hash_password(password)
    assert not verify_password(hash_password("long enough"), password)


@pytest.mark.parametrize("stored", ["", "plain", "$argon2id$broken", "$2b$12$abcdefghijklmnopqrstuv"])
def test_damaged_hash_lets_nobody_in(stored):
    assert not verify_password(stored, "anything at all")
