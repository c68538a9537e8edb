"""Hazards, with a real OpenID Connect provider: somebody signs in as another person, or sees others' courses."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from cell_monitor.embedded.process import free_port
from cell_monitor_core.storage.postgres import memberships
from cell_monitor_core.storage.postgres.memberships import Source
from cell_monitor_testing.oidc_provider import CLIENT_ID, OTHER_CLIENT, OidcProviderProcess
from cell_monitor_testing.oidc_site import OidcSites, callback_of

pytestmark = [pytest.mark.timeout(300)]

PASSWORD = "correct horse battery"


def signed_in(site: Any, browser: httpx.Client, subject: str) -> str:
    """Sign in and return an access token."""
    answer = site.sign_in(browser, subject)
    assert answer.headers.get("location") == f"{site.api}/", answer.text
    token = site.token(browser)
    assert token is not None
    return str(token)


def failure(site: Any, answer: httpx.Response) -> str:
    """Return the code that the dashboard gets of a sign-in that failed, after which nobody is signed in."""
    assert answer.status_code == 303, answer.text
    assert "cell_monitor_sign_in" not in "".join(answer.headers.get_list("set-cookie"))
    page, _, code = answer.headers["location"].partition("#sign-in-failed=")
    assert page == f"{site.api}/"
    return code


def query_of(url: str) -> dict[str, str]:
    """Return the query of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_an_instructor_signs_in_and_sees_exactly_the_courses_of_their_groups(site, browser) -> None:
    token = signed_in(site, browser, "Mori")
    me = site.get("me", token).json()
    assert (me["username"], me["display_name"], me["is_admin"]) == ("Mori", "森 さくら", False)
    assert site.courses_of(token) == {"physics": "instructor"}
    assert site.get("courses/physics/state", token).status_code == 200
    assert site.get("courses/chemistry/state", token).status_code == 404
    members = {one["username"]: one["sources"] for one in site.get("courses/physics/members", token).json()["members"]}
    assert members["Mori"] == {"oidc": "instructor"}


def test_subjects_that_differ_by_case_only_are_two_people_with_their_own_courses(site, browser) -> None:
    tokens = {"Mori": signed_in(site, browser, "Mori")}
    with httpx.Client(timeout=60, trust_env=False) as other:
        tokens["mori"] = signed_in(site, other, "mori")
    ids = {subject: site.get("me", token).json()["person_id"] for subject, token in tokens.items()}
    assert ids == {subject: str(site.person(subject)) for subject in tokens}
    assert len(set(ids.values())) == 2
    # The group of students gives nothing: who signs in with the provider sends no events.
    assert {subject: site.courses_of(token) for subject, token in tokens.items()} == {
        "Mori": {"physics": "instructor"},
        "mori": {},
    }


def test_who_is_in_no_course_signs_in_and_sees_none(site, browser) -> None:
    token = signed_in(site, browser, "nobody")
    assert site.courses_of(token) == {}
    assert site.get("courses/physics/state", token).status_code == 404


def test_a_provider_s_person_with_the_name_of_a_local_account_is_another_person(site, browser) -> None:
    local = site.add_local_admin("Mori", PASSWORD, course_id="chemistry")
    token = signed_in(site, browser, "Mori")
    me = site.get("me", token).json()
    assert me["person_id"] != str(local)
    assert (me["is_admin"], site.courses_of(token)) == (False, {"physics": "instructor"})


def test_a_course_that_the_groups_do_not_give_any_more_is_lost_and_other_sources_stay(site, browser) -> None:
    signed_in(site, browser, "sato")
    person = site.person("sato")
    # As after an earlier sign-in with another group, and by the roster.
    site.sql(lambda pool: memberships.upsert_many(pool, "chemistry", {person: "instructor"}, source=Source.OIDC))
    site.sql(lambda pool: memberships.upsert_many(pool, "chemistry", {person: "observer"}))
    assert site.courses_of(signed_in(site, browser, "sato")) == {"chemistry": "observer", "physics": "assistant"}


def test_claims_that_cannot_be_read_give_nothing_and_the_others_count(site, browser) -> None:
    token = signed_in(site, browser, "ueda")
    assert site.get("me", token).json()["display_name"] == "Ueda"
    assert site.courses_of(token) == {"physics": "instructor"}


def test_what_the_browser_is_sent_to_the_provider_with(site, browser) -> None:
    answer = browser.get(
        f"{site.api}/api/v1/auth/oidc/start?next=https://evil.example&redirect_uri=https://evil.example",
        headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
        follow_redirects=False,
    )
    location = answer.headers["location"]
    assert location.startswith(f"{site.provider.issuer}/auth?")
    query = query_of(location)
    assert query["redirect_uri"] == site.provider.callback
    assert (query["response_type"], query["scope"]) == ("code", "openid profile")
    assert query["code_challenge_method"] == "S256"
    assert {len(query[name]) for name in ("state", "nonce", "code_challenge")} == {43}
    (cookie,) = answer.headers.get_list("set-cookie")
    assert query["state"] not in cookie
    assert query["nonce"] not in cookie
    assert {"HttpOnly", "SameSite=lax", "Path=/api/v1/auth"} <= set(cookie.split("; "))


def test_another_site_s_page_cannot_begin_a_sign_in(site) -> None:
    answer = httpx.get(f"{site.api}/api/v1/auth/oidc/start", headers={"Sec-Fetch-Site": "cross-site"}, trust_env=False)
    assert answer.status_code == 403


def test_nothing_in_a_request_says_where_the_browser_goes_after_signing_in(site, browser) -> None:
    answer = browser.get(
        f"{site.begun(browser, 'Mori')}&next=https://evil.example&redirect=//evil.example",
        headers={"X-Forwarded-Host": "evil.example", "Referer": "https://evil.example/"},
        follow_redirects=False,
    )
    assert answer.headers["location"] == f"{site.api}/"


def test_login_csrf_signs_nobody_in(site, browser) -> None:
    # The attacker's own code and state, opened in the browser of another person.
    attackers = site.begun(browser, "Mori")
    with httpx.Client(timeout=60, trust_env=False) as victim:
        assert failure(site, victim.get(attackers)) == "oidc_sign_in_invalid"
        site.begun(victim, "nobody")  # The victim has begun a sign-in of their own as well.
        assert failure(site, victim.get(attackers)) == "oidc_sign_in_invalid"
        assert site.token(victim) is None


@pytest.mark.parametrize("state", ["x" * 43, "", None], ids=["forged", "empty", "none"])
def test_a_forged_state_signs_nobody_in(site, browser, state: str | None) -> None:
    callback = site.begun(browser, "Mori")
    query = query_of(callback) | {"state": state}
    forged = urlencode({name: value for name, value in query.items() if value is not None})
    assert failure(site, browser.get(f"{site.provider.callback}?{forged}")) == "oidc_sign_in_invalid"
    # The attempt is over: not even the right answer counts now.
    assert failure(site, browser.get(callback)) == "oidc_sign_in_invalid"
    assert site.token(browser) is None


def test_a_code_of_another_browser_signs_nobody_in(site, browser) -> None:
    stolen = query_of(site.begun(browser, "Mori"))["code"]
    with httpx.Client(timeout=60, trust_env=False) as thief:
        own = query_of(site.begun(thief, "nobody"))
        answer = thief.get(f"{site.provider.callback}?{urlencode(own | {'code': stolen})}")
        # The provider compares the code verifier, and ends the code.
        assert failure(site, answer) == "oidc_sign_in_refused"
        assert site.token(thief) is None


def test_a_code_that_another_client_got_signs_nobody_in(site, browser) -> None:
    location = site.started(browser).replace(f"client_id={CLIENT_ID}", f"client_id={OTHER_CLIENT}")
    assert failure(site, browser.get(site.provider.answered(browser, location, "Mori"))) == "oidc_sign_in_refused"
    assert site.token(browser) is None


def test_a_token_of_a_sign_in_with_another_nonce_signs_nobody_in(site, browser) -> None:
    started = site.started(browser)
    nonce = query_of(started)["nonce"]
    callback = site.provider.answered(browser, started.replace(nonce, "n" * 43), "Mori")
    assert failure(site, browser.get(callback)) == "oidc_token_unverified"
    assert site.token(browser) is None


@pytest.mark.parametrize("issuer", ["https://evil.example", None], ids=["other", "none"])
def test_an_answer_that_is_not_in_the_provider_s_name_signs_nobody_in(site, browser, issuer: str | None) -> None:
    query: dict[str, str | None] = dict(query_of(site.begun(browser, "Mori")))
    assert query["iss"] == site.provider.issuer
    other = {name: value for name, value in (query | {"iss": issuer}).items() if value is not None}
    assert failure(site, browser.get(f"{site.provider.callback}?{urlencode(other)}")) == "oidc_sign_in_refused"
    assert site.token(browser) is None


def test_a_person_who_refuses_at_the_provider_is_not_signed_in(site, browser) -> None:
    page = browser.get(site.started(browser), follow_redirects=True)
    answer = browser.get(f"{page.url}/abort", follow_redirects=False)
    while not answer.headers["location"].startswith(site.provider.callback):
        answer = browser.get(str(answer.url.join(answer.headers["location"])), follow_redirects=False)
    assert "error=access_denied" in answer.headers["location"]
    assert failure(site, browser.get(answer.headers["location"])) == "oidc_sign_in_refused"


def test_signing_out_cannot_be_undone_by_a_replay(site, browser) -> None:
    callback = site.begun(browser, "Mori")
    attempt = browser.cookies.get("cell_monitor_oidc_sign_in")
    assert browser.get(callback, follow_redirects=False).headers["location"] == f"{site.api}/"
    token = site.token(browser)
    cookie = browser.cookies.get("cell_monitor_sign_in", path="/api/v1/auth")
    assert browser.post(f"{site.api}/api/v1/auth/logout").status_code == 204
    wait_until(lambda: site.get("me", token).status_code == 401)
    with httpx.Client(trust_env=False) as replaying:
        replaying.cookies.set("cell_monitor_sign_in", cookie, domain="127.0.0.1", path="/api/v1/auth")
        assert site.token(replaying) is None
        replaying.cookies.set("cell_monitor_oidc_sign_in", attempt, domain="127.0.0.1", path="/api/v1/auth")
        assert failure(site, replaying.get(callback)) == "oidc_sign_in_refused"


def test_a_dismissed_instructor_loses_the_course_within_seconds(site, browser) -> None:
    token = signed_in(site, browser, "ogawa")
    person = site.person("ogawa")
    site.sql(lambda pool: memberships.remove(pool, "physics", person, source=Source.OIDC))
    wait_until(lambda: site.get("courses/physics/state", token).status_code == 401)
    assert site.courses_of(site.token(browser)) == {}


@pytest.mark.parametrize(
    ("auth_method", "algorithm"), [("client_secret_post", "ES256"), ("client_secret_basic", "EdDSA")]
)
def test_a_provider_that_is_down_or_has_new_keys_and_other_ways_of_authentication(
    make_site: OidcSites, tmp_path: Path, browser, auth_method: str, algorithm: str
) -> None:
    port = free_port()
    provider = OidcProviderProcess(
        tmp_path, callback=callback_of(port), people={}, auth_method=auth_method, algorithm=algorithm
    )
    # The API starts before the provider does: nobody can sign in, and the page shows it.
    site = make_site(provider, port, CELL_MONITOR_API_OIDC_CLIENT_AUTH=auth_method)
    answer = browser.get(f"{site.api}/api/v1/auth/oidc/start")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert f'href="{site.api}/#sign-in-failed=oidc_unavailable"' in answer.text
    try:
        provider.start()
        wait_until(lambda: browser.get(f"{site.api}/api/v1/auth/oidc/start").status_code == 303)
        signed_in(site, browser, "Mori")
        # New keys: the next token names one that was not known when the keys were read.
        provider.stop()
        provider.start()
        browser.cookies.clear()
        wait_until(lambda: site.sign_in(browser, "Mori").headers["location"] == f"{site.api}/")
        # Gone between the person's sign-in there and their return.
        callback = site.begun(browser, "Mori")
    finally:
        provider.stop()
    assert failure(site, browser.get(callback)) == "oidc_unavailable"


def wait_until(condition: Callable[[], bool], timeout: float = 60) -> None:
    """Wait until something has become so."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
