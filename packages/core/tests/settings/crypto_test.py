"""Hazards: a value readable in another column or another row, a rotated key unreadable, damaged bytes accepted, look-ups that miss."""

import base64
import json
import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.crypto import BlindIndex, DecryptionError, KeyRing
from cell_monitor_core.settings import CoreSettings, SettingsError

RING = KeyRing({"old": b"o" * 32, "new": b"n" * 32}, "new")
ROW = b"row 1"


def version_1(plaintext: bytes, context: str, *, key: bytes = b"n" * 32, key_id: bytes = b"new") -> bytes:
    """A value as releases before schema 0006 wrote it: bound to its column only."""
    header = bytes((1, len(key_id))) + key_id
    nonce = os.urandom(12)
    return header + nonce + AESGCM(key).encrypt(nonce, plaintext, header + context.encode())


@given(st.binary(max_size=300))
def test_round_trip(plaintext):
    blob = RING.encrypt(plaintext, context="people.username", row=ROW)
    assert RING.decrypt(blob, context="people.username", row=ROW) == plaintext


@given(st.text(max_size=50), st.data())
def test_any_changed_byte_is_detected(text, data):
    blob = bytearray(RING.encrypt_text(text, context="a.b", row=ROW))
    position = data.draw(st.integers(0, len(blob) - 1))
    blob[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DecryptionError):
        RING.decrypt(bytes(blob), context="a.b", row=ROW)


@given(st.binary(max_size=80))
def test_arbitrary_bytes_raise_only_our_error(blob):
    with pytest.raises(DecryptionError):
        RING.decrypt(blob, context="a.b", row=ROW)


def test_value_of_another_column_is_refused():
    blob = RING.encrypt_text("Hanako", context="people.display_name", row=ROW)
    with pytest.raises(DecryptionError, match="belongs to another column or row"):
        RING.decrypt(blob, context="help_requests.message", row=ROW)


@given(st.lists(st.tuples(st.text(max_size=4), st.binary(max_size=4)), min_size=2, max_size=2, unique=True))
def test_value_of_another_row_or_column_is_refused_wherever_one_ends_and_the_other_begins(places):
    (context, row), (other_context, other_row) = places
    blob = RING.encrypt(b"x", context=context, row=row)
    assert RING.decrypt(blob, context=context, row=row) == b"x"
    with pytest.raises(DecryptionError, match="another column or row"):
        RING.decrypt(blob, context=other_context, row=other_row)


def test_value_from_before_rows_were_bound_is_read_in_its_column_only_and_is_to_be_rewritten():
    blob = version_1(b"Hanako", "people.display_name")
    assert RING.decrypt(blob, context="people.display_name", row=ROW) == b"Hanako"
    assert not blob.startswith(RING.active_header)
    with pytest.raises(DecryptionError, match="another column or row"):
        RING.decrypt(blob, context="people.email", row=ROW)
    # The version is authenticated: a value cannot be passed off as one of the other version.
    for forged in (b"\x02" + blob[1:], b"\x01" + RING.encrypt(b"x", context="c", row=ROW)[1:]):
        with pytest.raises(DecryptionError):
            RING.decrypt(forged, context="c", row=ROW)


def test_rotation_reads_old_values_and_knows_them():
    blob = KeyRing({"old": b"o" * 32}, "old").encrypt_text("x", context="c", row=ROW)
    assert RING.decrypt_text(blob, context="c", row=ROW) == "x"
    assert not blob.startswith(RING.active_header)
    assert RING.encrypt_text("x", context="c", row=ROW).startswith(RING.active_header)
    with pytest.raises(DecryptionError, match="'old'"):
        KeyRing({"new": b"n" * 32}, "new").decrypt(blob, context="c", row=ROW)


def test_same_text_never_encrypts_the_same():
    assert RING.encrypt_text("x", context="c", row=ROW) != RING.encrypt_text("x", context="c", row=ROW)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "must be JSON"),
        ('{"active": "k1", "keys": {}}', "not among the keys"),
        ('{"active": "k1", "keys": {"k1": "%%"}}', "not base64"),
        (json.dumps({"active": "k1", "keys": {"k1": base64.b64encode(b"short").decode()}}), "has 5 bytes"),
        (json.dumps({"active": "k 1", "keys": {"k 1": base64.b64encode(bytes(32)).decode()}}), "id must be"),
    ],
)
def test_error_of_a_bad_key_file_names_the_problem(text, message):
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
