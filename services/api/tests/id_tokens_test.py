"""Hazard: an id_token signs somebody in that the provider did not make for this sign-in, or not for now."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.utils import base64url_encode

from cell_monitor_api.services.id_tokens import IdTokenInvalid, IdTokenOutOfTime, IdTokenRules, UnknownKeyId

ISSUER = "https://login.example.org"
CLIENT = "cell-monitor"
NONCE = "n" * 43
SECRET = "s" * 64
RULES = IdTokenRules(ISSUER, CLIENT, "name", "groups")
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
RSA_KEY = rsa.generate_private_key(65537, 2048)
SHORT_RSA_KEY = rsa.generate_private_key(65537, 1024)


def jwk(algorithm: Any, key: Any, kid: str, **more: Any) -> dict[str, Any]:
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}


EC_JWK = jwk(ECAlgorithm, EC_KEY, "ec", use="sig", alg="ES256")
KEYS = [
    EC_JWK,
    jwk(RSAAlgorithm, RSA_KEY, "rsa"),  # says neither use nor algorithm
    jwk(OKPAlgorithm, ED_KEY, "ed"),
    jwk(ECAlgorithm, OTHER_EC_KEY, "for encryption", use="enc"),
    jwk(RSAAlgorithm, SHORT_RSA_KEY, "short"),
    {"kty": "oct", "kid": "oct", "k": base64url_encode(SECRET.encode()).decode()},
    {"kty": "RSA", "kid": "broken"},
    {"kid": "of no type"},
]


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    said = {"iss": ISSUER, "sub": "mori", "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": NONCE} | changes
    # A time is computed when the token is made, not when the file is read.
    return {name: value() if callable(value) else value for name, value in said.items() if value is not ...}


def token(said: dict[str, Any], key: Any = EC_KEY, algorithm: str | None = "ES256", kid: str | None = "ec") -> str:
    return jwt.encode(said, key, algorithm=algorithm, headers={} if kid is None else {"kid": kid})


def visitor(made: str, keys: Any = KEYS, supported: Any = None) -> Any:
    return RULES.visitor_of(made, keys, NONCE, supported)


SIGNED = {
    "ES256": (EC_KEY, "ES256", "ec"),
    "RS256": (RSA_KEY, "RS256", "rsa"),
    "PS384": (RSA_KEY, "PS384", "rsa"),
    "EdDSA": (ED_KEY, "EdDSA", "ed"),
}


@pytest.mark.parametrize(("key", "algorithm", "kid"), SIGNED.values(), ids=SIGNED.keys())
def test_a_token_of_the_provider_says_who_signed_in(key, algorithm, kid) -> None:
    found = visitor(token(claims(sub="Mori", name="森", groups=["a", "b"]), key, algorithm, kid))
    assert (found.subject, found.name, found.groups) == ("Mori", "森", ("a", "b"))


def now(seconds: float) -> Callable[[], float]:
    return lambda: time.time() + seconds


GOOD = {
    "of several audiences, made for this client": {"aud": ["other", CLIENT], "azp": CLIENT},
    "a list of one audience": {"aud": [CLIENT]},
    "expired within the clocks' difference": {"exp": now(-30)},
    "issued within the clocks' difference": {"iat": now(30)},
}


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD.keys())
def test_what_the_specification_allows_signs_in(changes) -> None:
    assert visitor(token(claims(**changes))).subject == "mori"


BAD = {
    "another issuer": {"iss": f"{ISSUER}/"},
    "another audience": {"aud": "other"},
    "another audience that was made for this client": {"aud": "other", "azp": CLIENT},
    "several audiences, made for nobody": {"aud": ["other", CLIENT]},
    "several audiences, made for another client": {"aud": ["other", CLIENT], "azp": "other"},
    "made for another client": {"azp": "other"},
    "an audience that is no text": {"aud": [7, CLIENT]},
    "another nonce": {"nonce": "m" * 43},
    "a nonce that is no text": {"nonce": [NONCE]},
    "half a character as nonce": {"nonce": "\ud800"},
    "an empty subject": {"sub": ""},
    "a subject that is too long": {"sub": "s" * 256},
    "a subject that is no text": {"sub": 7},
    "half a character as subject": {"sub": "\ud800"},
    "a time that is none": {"exp": "soon"},
    "a time beyond all times": {"exp": float("inf")},
    "a time that is no number": {"exp": float("nan")},
    **{f"no {claim}": {claim: ...} for claim in ("iss", "sub", "aud", "exp", "iat", "nonce")},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD.keys())
def test_a_token_of_something_else_signs_nobody_in(changes) -> None:
    with pytest.raises(IdTokenInvalid):
        visitor(token(claims(**changes)))


OUT_OF_TIME = {
    "expired": {"exp": now(-120)},
    "issued in the future": {"iat": now(3600)},
    "not valid yet": {"nbf": now(3600)},
}


@pytest.mark.parametrize("changes", OUT_OF_TIME.values(), ids=OUT_OF_TIME.keys())
def test_a_token_of_another_time_signs_nobody_in_and_the_clocks_are_named(changes) -> None:
    with pytest.raises(IdTokenOutOfTime):
        visitor(token(claims(**changes)))


PEM = EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
FORGED = {
    "with the client's secret": (SECRET, "HS256", "ec"),
    "with a key that is published as a shared one": (SECRET, "HS256", "oct"),
    "with another key under the same id": (OTHER_EC_KEY, "ES256", "ec"),
    "with a key for encryption": (OTHER_EC_KEY, "ES256", "for encryption"),
    "with a key that is too short": (SHORT_RSA_KEY, "RS256", "short"),
    "with a key that cannot be read": (RSA_KEY, "RS256", "broken"),
    "with an algorithm that the key is not for": (RSA_KEY, "RS256", "ec"),
    "with a key that nobody publishes": (OTHER_EC_KEY, "ES256", "unknown"),
    "not at all": (None, "none", "ec"),
    "by one of several keys": (RSA_KEY, "RS256", None),
}


@pytest.mark.filterwarnings("ignore:.*key is .* long:jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize(("key", "algorithm", "kid"), FORGED.values(), ids=FORGED.keys())
def test_a_token_that_the_provider_did_not_sign_so_signs_nobody_in(key, algorithm, kid) -> None:
    with pytest.raises(IdTokenInvalid):
        visitor(token(claims(), key, algorithm, kid))


def test_the_public_key_is_no_shared_secret() -> None:
    # PyJWT refuses to sign with a PEM, so the signature is made by hand (RFC 8725, section 2.1).
    signed = token(claims(), SECRET, "HS256").rpartition(".")[0]
    signature = base64url_encode(hmac.digest(PEM, signed.encode(), hashlib.sha256)).decode()
    with pytest.raises(IdTokenInvalid):
        visitor(f"{signed}.{signature}")


def test_an_unknown_key_has_an_error_of_its_own_so_that_the_keys_can_be_read_again() -> None:
    with pytest.raises(UnknownKeyId):
        visitor(token(claims(), OTHER_EC_KEY, kid="new"))


def test_an_algorithm_that_the_provider_does_not_name_does_not_count() -> None:
    made = token(claims())
    assert visitor(made, supported=["ES256"]).subject == "mori"
    with pytest.raises(IdTokenInvalid):
        visitor(made, supported=["RS256"])


def test_without_an_id_the_only_key_that_fits_counts() -> None:
    assert visitor(token(claims(), kid=None), [EC_JWK]).subject == "mori"


@pytest.mark.parametrize("said", [None, 7, "", " ", {}, "\x00\n", "\ud800"], ids=repr)
def test_a_name_that_cannot_be_shown_is_none(said) -> None:
    assert visitor(token(claims(name=said))).name is None


@pytest.mark.parametrize(
    ("said", "groups"),
    [
        (..., ()),
        (None, ()),
        ("one", ("one",)),
        ([], ()),
        (["a", None, 7, "", "\x00", "\ud800", "g" * 513, ["b"], {"c": 1}, "d"], ("a", "d")),
        ({"a": True}, ()),
    ],
    ids=["missing", "null", "text", "empty", "mixed", "object"],
)
def test_of_groups_only_texts_count(said, groups) -> None:
    assert visitor(token(claims(groups=said))).groups == groups


def test_groups_that_nobody_asked_for_say_nothing() -> None:
    rules = IdTokenRules(ISSUER, CLIENT, "name", None)
    assert rules.visitor_of(token(claims(groups=["a"])), KEYS, NONCE, None).groups is None


@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1"))))
def test_no_text_signs_anybody_in(made: str) -> None:
    with pytest.raises(IdTokenInvalid):
        visitor(made)


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3))


@given(st.dictionaries(st.sampled_from([*claims(), "azp", "nbf", "name", "groups"]), JSON, min_size=1))
def test_a_signed_token_of_any_claims_is_refused_or_read(changes: dict[str, Any]) -> None:
    said = claims() | changes
    made = jwt.PyJWS().encode(json.dumps(said).encode(), EC_KEY, algorithm="ES256", headers={"kid": "ec"})
    try:
        found = visitor(made)
    except IdTokenInvalid:
        return
    assert said["iss"] == ISSUER
    assert said["nonce"] == NONCE
    assert said["sub"] == found.subject
    assert CLIENT in said["aud"]
