"""Hazards: a token that was revoked is accepted, or one made after the change is refused, by the order of the news."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.revocations import KEPT_SECONDS, Revocation, RevocationList, of_erased_person
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.auth.tokens import MAX_LIFETIME_S, TokenIssuer, TokenRevoked, TokenVerifier

ANN, BOB = "f81d4fae-7dec-41d0-a765-00a0c91e6bf6", "f81d4fae-7dec-41d0-a765-00a0c91e6bf7"

revocations = st.lists(
    st.one_of(
        st.builds(Revocation, st.sampled_from([ANN, BOB]), st.integers(0, 5)),
        st.builds(Revocation, st.sampled_from(["session:a", "key:b"])),
    ),
    max_size=12,
)


@given(revocations, st.permutations(range(12)), st.integers(1, 3))
def test_order_and_repetition_of_the_news_change_nothing(news, order, times):
    expected = {
        (subject, generation, credential): credential in {each.subject for each in news if each.generation is None}
        or generation < max([each.generation for each in news if each.subject == subject], default=0)
        for subject in (ANN, BOB)
        for generation in range(7)
        for credential in ("", "session:a", "key:b", "key:c")
    }
    found = RevocationList()
    for _ in range(times):
        for index in order:
            found.add(news[index : index + 1], now=0.0)
    assert {claims: found.covers(*claims) for claims in expected} == expected


def test_an_entry_is_kept_longer_than_any_token_lives_and_then_forgotten():
    assert KEPT_SECONDS > MAX_LIFETIME_S + 60
    found = RevocationList()
    found.add([Revocation(ANN, 3), Revocation("key:b")], now=100.0)
    found.prune(100.0 + MAX_LIFETIME_S + 60)
    assert found.covers(ANN, 2, "")
    assert found.covers(BOB, 0, "key:b")
    found.prune(101.0 + KEPT_SECONDS)
    assert len(found) == 0


def test_all_tokens_of_an_erased_person_end_and_nobody_elses():
    found = RevocationList()
    found.add([of_erased_person(ANN)], now=100.0)
    for generation in (0, 3, 2**31 - 1):
        assert found.covers(ANN, generation, "key:b")
        assert not found.covers(BOB, generation, "key:b")
    assert ANN not in repr(of_erased_person(ANN))
    assert UUID(ANN).hex not in repr(of_erased_person(ANN))
    found.prune(101.0 + KEPT_SECONDS)
    assert len(found) == 0
    assert not found.covers(ANN, 0, "")


@pytest.fixture
def keys():
    return SigningKeys.generate()


def issue(keys, generation=0, credential="session:a"):
    token, _ = TokenIssuer(keys).issue(
        grant=Grant.SESSION, person_id=ANN, audience=["api"], generation=generation, credential=credential
    )
    return token


def test_a_token_that_was_verified_before_is_refused_once_it_is_revoked_and_its_successor_is_not(keys):
    found = RevocationList()
    verifier = TokenVerifier(keys, "api", revocations=found)
    old, other = issue(keys), issue(keys, credential="session:b")
    claims, epoch = verifier.verify(old), verifier.epoch
    verifier.verify(other)
    found.add([Revocation("session:a")], now=0.0)
    assert not verifier.holds(claims, epoch)
    for _ in range(2):
        with pytest.raises(TokenRevoked):
            verifier.verify(old)
    claims, epoch = verifier.verify(other), verifier.epoch
    assert verifier.holds(claims, epoch)
    found.add([Revocation(ANN, 1)], now=0.0)
    with pytest.raises(TokenRevoked):
        verifier.verify(other)
    assert verifier.verify(issue(keys, generation=1, credential="session:b"))


def test_a_token_of_an_earlier_release_is_of_the_first_generation(keys):
    found = RevocationList()
    verifier = TokenVerifier(keys, "api", revocations=found)
    token = issue(keys, credential="")
    assert verifier.verify(token).gen == 0
    found.add([Revocation(ANN, 1)], now=0.0)
    with pytest.raises(TokenRevoked):
        verifier.verify(token)
