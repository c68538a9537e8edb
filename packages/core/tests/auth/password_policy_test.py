"""Hazard: a password that is guessed first is accepted, or a good one is refused for the characters that it has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.auth.password_policy import PasswordFault, fault_of


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "mondaymorningcoffee",
        "らんぴつごしゃのばんごう",
        "ペンギンは空を飛びたい",
        "    twelve    ",
        "x7Kq2mPz9wLt",
        "839201748264",
        "love8392017482!!!",
        # ASVS 2.1.2: at least 64 characters.
        "a good phrase of many words, repeated not at all, and sixty-four!",
        "ä" * 3 + "öü7q-" + "yzw" * 40,
    ],
)
def test_long_passwords_are_accepted_whatever_characters_they_have(password):
    padded = password if len(password) >= 12 else password + "とりたち"
    assert fault_of(padded) is None


@pytest.mark.parametrize(
    "password",
    [
        "123456789012",
        "1q2w3e4r5t6y",
        "qwertyuiop123",
        "QWERTYUIOP1!",
        "passwordpassword",
        "Password12345!",
        "password12345".translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)}),
        "!!iloveyou2024",
        "aaaaaaaaaaaaaaaa",
        "abcabcabcabcab",
        "123qweasdzxc",
        "qwerty123456",
    ],
)
def test_common_passwords_are_refused_also_repeated_or_with_digits(password):
    assert fault_of(password) is PasswordFault.COMMON


def test_the_names_of_the_person_are_refused_like_common_passwords():
    names = ("tanaka.misaki", "田中 美咲", "li")
    assert fault_of("Tanaka.Misaki2026", names) is PasswordFault.COMMON
    assert fault_of("tanaka.misakitanaka.misaki", names) is PasswordFault.COMMON
    assert fault_of("Tanaka.Misaki2026") is None
    assert fault_of("lighthouse keeper", names) is None


def test_the_length_is_counted_in_composed_characters_and_bounded():
    assert fault_of("kq7-z9x w2m") is PasswordFault.TOO_SHORT
    assert fault_of("kq7-z9x w2mp") is None
    # Eleven letters, each typed as two characters.
    assert fault_of("e\u0301" * 11) is PasswordFault.TOO_SHORT
    long = "".join(chr(0x4E00 + number) for number in range(129))
    assert fault_of(long[:128]) is None
    assert fault_of(long) is PasswordFault.TOO_LONG
    assert fault_of("x" * 100_000) is PasswordFault.TOO_LONG


@given(st.text(max_size=600), st.lists(st.text(max_size=200), max_size=3))
def test_any_text_gets_an_answer(password, names):
    found = fault_of(password, names)
    assert found is None or isinstance(found, PasswordFault)
