"""Hazards: a forged, foreign, overlong or expired token gets in; a withdrawn key lives on in the cache."""

import base64
import json
from uuid import uuid4

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.roles import Permission
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.auth.tokens import TokenExpired, TokenInvalid, TokenIssuer, TokenVerifier, UnknownKey

PERSON = uuid4()
KEYS = SigningKeys.generate()


class Clock:
    def __init__(self, now=1_800_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def issuer(clock):
    return TokenIssuer(KEYS, clock=clock)


@pytest.fixture
def verifier(clock):
    return TokenVerifier(KEYS, "ingest", clock=clock, cache_size=3)


def issue(issuer, **changes):
    return issuer.issue(
        **{"grant": Grant.API_KEY, "person_id": PERSON, "audience": ["ingest"], "courses": {"c1": "student"}} | changes
    )[0]


def signed(claims, *, key=None, headers=None, algorithm="EdDSA"):
    headers = {"kid": KEYS.active} if headers is None else headers
    return jwt.encode(claims, key or KEYS.private_key, algorithm=algorithm, headers=headers)


def claims_at(now, **changes):
    return {
        "iss": "cell-monitor",
        "sub": str(PERSON),
        "aud": ["ingest"],
        "iat": int(now),
        "exp": int(now) + 600,
        "jti": "x",
        "grant": "api_key",
        "courses": {},
        "scopes": [],
        "admin": False,
    } | changes


def test_claims_come_back(issuer, verifier):
    token = issue(issuer, scopes=["courses:read", "admin"], courses={"c1": "student", "c2": "assistant"})
    claims = verifier.verify(token)
    assert claims.person_id == PERSON
    assert claims.courses == {"c1": "student", "c2": "assistant"}
    assert claims.scopes == ("courses:read", "admin")
    assert claims.grant is Grant.API_KEY
    assert not claims.admin
    assert claims.may("c2", Permission.ANSWER_HELP)
    assert not claims.may("c1", Permission.READ_COURSE)
    assert not claims.may("c3", Permission.SEND_EVENTS)
    assert verifier.verify(token) is claims


def test_a_token_without_scopes_allows_nothing_unless_somebody_signed_in(issuer, verifier, clock):
    key = verifier.verify(issue(issuer, courses={"c1": "instructor"}, admin=True))
    assert not key.permissions
    assert not key.administers
    assert not any(key.may("c1", permission) for permission in Permission)
    token = issue(issuer, grant=Grant.SESSION, audience=["api"], courses={"c1": "instructor"}, admin=True)
    session = TokenVerifier(KEYS, "api", clock=clock).verify(token)
    assert session.administers
    assert session.may("c1", Permission.MANAGE_MEMBERS)
    assert session.may("c9", Permission.READ_COURSE)
    assert not session.may("c1", Permission.SEND_EVENTS)


def test_a_grant_is_for_its_audiences_only(issuer, verifier, clock):
    with pytest.raises(ValueError, match="session"):
        issue(issuer, grant=Grant.SESSION, audience=["api", "ingest"])
    with pytest.raises(TokenInvalid, match="session"):
        verifier.verify(signed(claims_at(clock.now, grant="session", aud=["api", "ingest"])))


def test_expiry_is_checked_on_a_cached_token(issuer, verifier, clock):
    token = issue(issuer)
    verifier.verify(token)
    clock.now += 599
    verifier.verify(token)
    clock.now += 1
    with pytest.raises(TokenExpired):
        verifier.verify(token)
    with pytest.raises(TokenExpired):
        verifier.verify(token)


def test_cache_is_bounded(issuer, verifier):
    tokens = [issue(issuer) for _ in range(5)]
    for token in tokens:
        verifier.verify(token)
    assert len(verifier._cache) == 3
    assert all(verifier.verify(token) for token in tokens)


def test_withdrawn_key_no_longer_lets_its_tokens_in(issuer, verifier):
    token = issue(issuer)
    verifier.verify(token)
    verifier.keys_source = SigningKeys.generate()
    with pytest.raises(UnknownKey):
        verifier.verify(token)


def test_rotation_keeps_tokens_of_the_previous_key_valid(clock):
    issuer = TokenIssuer(KEYS, clock=clock)
    old = issue(issuer)
    rotated = KEYS.with_new_key()
    issuer.signing_keys = rotated
    new = issue(issuer)
    assert jwt.get_unverified_header(new)["kid"] != jwt.get_unverified_header(old)["kid"]
    verifier = TokenVerifier(rotated, "ingest", clock=clock)
    assert verifier.verify(old).sub == verifier.verify(new).sub
    twice = rotated.with_new_key()
    with pytest.raises(UnknownKey):
        TokenVerifier(twice, "ingest", clock=clock).verify(old)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["api"]},
        {"aud": []},
        {"aud": "ingest"},
        {"iss": "somebody"},
        {"sub": "admin"},
        {"exp": 1_800_000_601},
        {"iat": 1_800_000_100, "exp": 1_800_000_200},
        {"exp": "soon"},
        {"courses": {"c1": "owner"}},
        {"courses": ["c1"]},
        {"admin": "yes"},
        {"scopes": "admin"},
        {"grant": "session"},
        {"grant": "root"},
        {"grant": ""},
        {"grant": None},
        {"grant": ["api_key"]},
    ],
)
def test_wrong_claims_are_refused(verifier, clock, changes):
    with pytest.raises(TokenInvalid):
        verifier.verify(signed(claims_at(clock.now, **changes)))


def test_an_installation_takes_no_tokens_of_another_one_with_the_same_keys(clock):
    made = {name: issue(TokenIssuer(KEYS, clock=clock, issuer=name)) for name in ("https://a.example.org", "b")}
    verifier = TokenVerifier(KEYS, "ingest", clock=clock, issuer="https://a.example.org")
    assert verifier.verify(made["https://a.example.org"]).iss == "https://a.example.org"
    for token in (made["b"], issue(TokenIssuer(KEYS, clock=clock))):
        with pytest.raises(TokenInvalid):
            verifier.verify(token)


@pytest.mark.parametrize("missing", ["iss", "sub", "aud", "iat", "exp", "jti", "grant", "courses", "scopes", "admin"])
def test_missing_claims_are_refused(clock, missing):
    # At each service: what one refuses for its audience another must not accept.
    for audience in ("ingest", "api", "gateway"):
        claims = claims_at(clock.now, aud=[audience])
        del claims[missing]
        with pytest.raises(TokenInvalid):
            TokenVerifier(KEYS, audience, clock=clock).verify(signed(claims))


def test_other_algorithms_and_keys_are_refused(verifier, clock):
    claims = claims_at(clock.now)
    other = SigningKeys.generate()
    public = KEYS.get(KEYS.active).public_bytes_raw()
    forged = [
        signed(claims, key=other.private_key),
        signed(claims, key=public, algorithm="HS256"),
        jwt.encode(claims, None, algorithm="none", headers={"kid": KEYS.active}),
        signed(claims, headers={}),
        signed(claims, headers={"kid": "nobody"}),
    ]
    for token in forged:
        with pytest.raises(TokenInvalid):
            verifier.verify(token)


def test_changed_payload_is_refused(issuer, verifier):
    header, payload, signature = issue(issuer).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["admin"] = True
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    with pytest.raises(TokenInvalid):
        verifier.verify(f"{header}.{changed}.{signature}")


@given(st.text(max_size=60))
def test_arbitrary_texts_raise_only_our_error(text):
    verifier = TokenVerifier(KEYS, "ingest")
    for token in (text, f"{text}.{text}.{text}", "eyJhbGciOiJFZERTQSJ9." + text):
        with pytest.raises(TokenInvalid):
            verifier.verify(token)


def test_overlong_token_is_refused_before_it_is_read(issuer, verifier, clock):
    courses = {f"course-{number}": "student" for number in range(400)}
    with pytest.raises(TokenInvalid, match="too long"):
        verifier.verify(signed(claims_at(clock.now, courses=courses)))
    with pytest.raises(ValueError, match="400 courses do not fit"):
        issue(issuer, courses=courses)
    assert issue(issuer, courses=dict(list(courses.items())[:100]))


def test_lifetime_is_at_most_ten_minutes():
    with pytest.raises(ValueError, match="600"):
        TokenIssuer(KEYS, lifetime=601)


@pytest.mark.parametrize(
    ("optional", "tail"),
    [
        ({}, {}),
        ({"generation": 3, "credential": "key:a"}, {"gen": 3, "cred": "key:a"}),
        # The default server of a user of the Hub has an empty name.
        ({"server": ""}, {"server": ""}),
        ({"generation": 1, "credential": "c", "server": "lab"}, {"gen": 1, "cred": "c", "server": "lab"}),
    ],
)
def test_claims_without_a_value_are_left_out_and_the_others_keep_their_order(optional, tail):
    issuer = TokenIssuer(SigningKeys.generate(), clock=lambda: 1000.0)
    token, _ = issuer.issue(
        grant=Grant.API_KEY, person_id=PERSON, audience=["ingest"], courses={"c1": "student"}, scopes=["a"], **optional
    )
    payload = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    jti = payload["jti"]
    expected = {
        "iss": "cell-monitor", "sub": str(PERSON), "aud": ["ingest"], "iat": 1000, "exp": 1600, "jti": jti,
        "grant": "api_key", "courses": {"c1": "student"}, "scopes": ["a"], "admin": False, **tail,
    }  # fmt: skip
    assert list(payload.items()) == list(expected.items())
