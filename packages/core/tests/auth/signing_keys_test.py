"""Hazards: a private key in the published set, a damaged key file accepted, a rotation that drops live keys."""

import base64
import json
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

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


def pem(*keys):
    return "".join(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode() for key in keys)


def test_kid_of_a_pem_key_is_the_thumbprint_of_its_jwk():
    # The key of RFC 8037 appendix A.1 and its thumbprint, appendix A.3.
    private = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    keys = SigningKeys.load(pem(Ed25519PrivateKey.from_private_bytes(private)))
    assert keys.active == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert keys.public_jwks()["keys"][0]["x"] == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_keys_that_openssl_writes_are_read_and_the_first_one_signs(tmp_path):
    first, second = (
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, check=True).stdout
        for _ in range(2)
    )
    path = tmp_path / "tls.key"
    path.write_bytes(first)
    before = SigningKeys.load(path)
    # A rotation: the new key in front, and tokens of the old one stay valid.
    path.write_bytes(b"Bag Attributes\n" + second + first)
    after = SigningKeys.load(path)
    assert after.active != before.active
    assert after.get(before.active) is not None
    assert SigningKeys.load(second.decode()).active == after.active


@pytest.mark.parametrize(
    ("key", "encryption"),
    [
        (X25519PrivateKey.generate(), NoEncryption()),
        (ec.generate_private_key(ec.SECP256R1()), NoEncryption()),
        (Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret")),
    ],
    ids=["x25519", "ecdsa", "with a password"],
)
def test_pem_of_another_kind_or_with_a_password_says_which_command_makes_a_key(key, encryption):
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()
    with pytest.raises(SigningKeysError, match="openssl genpkey -algorithm ed25519") as caught:
        SigningKeys.load(text)
    assert not any(line in str(caught.value) for line in text.splitlines()[1:-1])


def test_damaged_and_endless_pem_is_refused():
    text = pem(Ed25519PrivateKey.generate())
    for damaged in (text.replace("MC4", "MC5"), text[: len(text) // 2], text * 17):
        with pytest.raises(SigningKeysError):
            SigningKeys.load(damaged)
