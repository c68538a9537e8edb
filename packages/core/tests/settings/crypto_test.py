"""Hazards: a value readable in another column, a rotated key unreadable, damaged bytes accepted, look-ups that miss."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.crypto import BlindIndex, DecryptionError, KeyRing, generate_key
from cell_monitor_core.settings import CoreSettings, SettingsError

RING = KeyRing({"old": b"o" * 32, "new": b"n" * 32}, "new")


@given(st.binary(max_size=300))
def test_round_trip(plaintext):
    assert RING.decrypt(RING.encrypt(plaintext, context="people.username"), context="people.username") == plaintext


@given(st.text(max_size=50), st.data())
def test_any_changed_byte_is_noticed(text, data):
    blob = bytearray(RING.encrypt_text(text, context="a.b"))
    position = data.draw(st.integers(0, len(blob) - 1))
    blob[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DecryptionError):
        RING.decrypt(bytes(blob), context="a.b")


@given(st.binary(max_size=80))
def test_arbitrary_bytes_raise_only_our_error(blob):
    with pytest.raises(DecryptionError):
        RING.decrypt(blob, context="a.b")


def test_value_of_another_column_is_refused():
    blob = RING.encrypt_text("Hanako", context="people.display_name")
    with pytest.raises(DecryptionError, match="belongs to another column"):
        RING.decrypt(blob, context="help_requests.message")


def test_rotation_reads_old_values_and_knows_them():
    blob = KeyRing({"old": b"o" * 32}, "old").encrypt_text("x", context="c")
    assert RING.decrypt_text(blob, context="c") == "x"
    assert not blob.startswith(RING.active_header)
    assert RING.encrypt_text("x", context="c").startswith(RING.active_header)
    with pytest.raises(DecryptionError, match="'old'"):
        KeyRing({"new": b"n" * 32}, "new").decrypt(blob, context="c")


def test_same_text_never_encrypts_the_same():
    assert RING.encrypt_text("x", context="c") != RING.encrypt_text("x", context="c")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "must be JSON"),
        ('{"active": "k1", "keys": {}}', "not among the keys"),
        ('{"active": "k1", "keys": {"k1": "%%"}}', "not base64"),
        (json.dumps({"active": "k1", "keys": {"k1": base64.b64encode(b"short").decode()}}), "has 5 bytes"),
        (json.dumps({"active": "k 1", "keys": {"k 1": generate_key()}}), "id must be"),
    ],
)
def test_bad_key_file_says_what_is_wrong(text, message):
    with pytest.raises(SettingsError, match=message):
        KeyRing.from_json(text)


def test_missing_keys_name_the_setting():
    settings = CoreSettings(redis_url="redis://x")
    with pytest.raises(SettingsError, match="CELL_MONITOR_ENCRYPTION_KEYS"):
        KeyRing.from_settings(settings)
    with pytest.raises(SettingsError, match="CELL_MONITOR_INDEX_KEY"):
        BlindIndex.from_settings(settings)


@given(st.text(max_size=40))
def test_digest_ignores_case_and_compatibility_forms(value):
    index = BlindIndex(b"i" * 32)
    assert index.digest("username", value) == index.digest("username", value.casefold())
    assert len(index.digest("username", value)) == 32


def test_digest_differs_by_kind_value_and_key():
    index = BlindIndex(b"i" * 32)
    digests = {
        index.digest("username", "hanako"),
        index.digest("email", "hanako"),
        index.digest("username", "hanaka"),
        BlindIndex(b"j" * 32).digest("username", "hanako"),
    }
    assert len(digests) == 4
    assert index.digest("username", "ＨＡＮＡＫＯ") in digests  # noqa: RUF001
