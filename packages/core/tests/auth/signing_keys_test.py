"""Hazards: a private key in the published set, a damaged key file accepted, a rotation that drops live keys."""

import json

import pytest

from cell_monitor_core.auth.signing_keys import SigningKeys, SigningKeysError, decode_public_jwks


def test_round_trip_by_text_and_by_file(tmp_path):
    keys = SigningKeys.generate().with_new_key()
    path = tmp_path / "keys.json"
    path.write_text(keys.to_json())
    for loaded in (SigningKeys.load(keys.to_json()), SigningKeys.load(str(path)), SigningKeys.load(path)):
        assert loaded.active == keys.active
        assert loaded.public_jwks() == keys.public_jwks()
        assert loaded.private_key.private_bytes_raw() == keys.private_key.private_bytes_raw()


def test_published_set_has_no_private_part():
    keys = SigningKeys.generate().with_new_key()
    published = keys.public_jwks()
    assert [set(jwk) for jwk in published["keys"]] == [{"kty", "crv", "x", "kid", "alg", "use"}] * 2
    assert published["keys"][0]["kid"] == keys.active
    assert decode_public_jwks(json.dumps(published).encode()).keys() == {jwk["kid"] for jwk in published["keys"]}


def test_keys_of_other_kinds_are_passed_over():
    document = SigningKeys.generate().public_jwks()
    document["keys"] += [
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r"},
        {"kty": "OKP", "crv": "X25519", "x": "", "kid": "x"},
    ]
    assert len(decode_public_jwks(json.dumps(document).encode())) == 1


@pytest.mark.parametrize(
    "document", [b"", b"[]", b'{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA","kid":"k"}]}', b"\xff"]
)
def test_damaged_public_sets_are_refused(document):
    with pytest.raises(SigningKeysError):
        decode_public_jwks(document)


def damaged(change):
    document = json.loads(SigningKeys.generate().to_json())
    change(document)
    return json.dumps(document)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda doc: doc.update(active="nobody"), "not among the keys"),
        (lambda doc: doc["keys"][0].pop("d"), "no private"),
        (lambda doc: doc["keys"][0].update(kty="RSA"), "no private"),
        (lambda doc: doc["keys"][0].update(d="AAAA"), "32 bytes"),
        (lambda doc: doc["keys"][0].update(d="*"), "base64url|32 bytes"),
        (lambda doc: doc["keys"][0].update(x=SigningKeys.generate().public_jwks()["keys"][0]["x"]), "belong together"),
        (lambda doc: doc["keys"].append(doc["keys"][0]), "kid of its own"),
        (lambda doc: doc.pop("keys"), "must be JSON"),
    ],
)
def test_damaged_private_sets_say_what_is_wrong_without_the_key(change, message):
    text = damaged(change)
    with pytest.raises(SigningKeysError, match=message) as caught:
        SigningKeys.load(text)
    for jwk in json.loads(text).get("keys", []):
        assert len(jwk.get("d", "")) < 10 or jwk["d"] not in str(caught.value)


def test_missing_file_is_our_error(tmp_path):
    with pytest.raises(SigningKeysError, match="No such file"):
        SigningKeys.load(tmp_path / "none.json")
