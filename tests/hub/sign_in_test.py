"""Hazards, on a real JupyterHub: somebody signs in as another person, sees others' courses, or goes on after the Hub's word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from cell_monitor_core.storage.postgres import courses
from cell_monitor_testing.hub_site import HubSite
from cell_monitor_testing.jupyter_hub import HubProcess

pytestmark = [pytest.mark.timeout(300)]

PASSWORD = "correct horse battery"
WITHIN_S = 60
"""What the Hub ends has ended here within so many seconds."""


@pytest.fixture
def teacher(site: HubSite) -> Iterator[httpx.Client]:
    """The browser of somebody who teaches a course by a group of the Hub, signed in to the Hub."""
    site.sql(lambda pool: courses.create(pool, "chemistry", "Chemistry"))
    site.hub.put_groups({"course-physics-teachers": ["teacher"], "another group": ["teacher"]})
    with site.hub.browser("teacher") as browser:
        yield browser


def signed_in(site: HubSite, browser: httpx.Client) -> str:
    """Sign a browser in and return an access token."""
    answer = site.sign_in(browser)
    assert answer.headers.get("location") == f"{site.api}/", answer.text
    token = site.token(browser)
    assert token is not None
    return token


def begun(site: HubSite, browser: httpx.Client) -> str:
    """Begin a sign-in and return the address with which the Hub sends the browser back, unopened."""
    answer = browser.get(f"{site.api}/api/v1/auth/hub/start", follow_redirects=False)
    while not (location := str(answer.url.join(answer.headers["location"]))).startswith(site.hub.callback):
        answer = browser.get(location, follow_redirects=False)
    return location


def failure(site: HubSite, answer: httpx.Response) -> str:
    """Return the code that the dashboard gets of a sign-in that failed, after which nobody is signed in."""
    assert answer.status_code == 303, answer.text
    assert "cell_monitor_sign_in" not in "".join(answer.headers.get_list("set-cookie"))
    page, _, code = answer.headers["location"].partition("#sign-in-failed=")
    assert page == f"{site.api}/"
    return code


def test_an_instructor_signs_in_and_sees_exactly_the_courses_of_their_groups(
    site: HubSite, teacher: httpx.Client
) -> None:
    token = signed_in(site, teacher)
    assert site.courses_of(token) == {"physics": "instructor"}
    assert site.get("courses/physics/state", token).status_code == 200
    assert site.get("courses/chemistry/state", token).status_code == 404
    assert site.get("api-keys", token).status_code == 403


def test_an_admin_of_the_hub_is_no_admin_here_and_without_a_group_sees_nothing(site: HubSite) -> None:
    with site.hub.browser("boss") as browser:
        token = signed_in(site, browser)
    me = site.get("me", token).json()
    assert (me["is_admin"], me["courses"]) == (False, [])
    assert site.get("api-keys", token).status_code == 403
    assert site.get("courses/physics/state", token).status_code == 404


def test_what_the_browser_is_sent_to_the_hub_with(site: HubSite) -> None:
    with httpx.Client(trust_env=False) as browser:
        answer = browser.get(
            f"{site.api}/api/v1/auth/hub/start?next=https://evil.example&redirect_uri=https://evil.example",
            headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
        )
    location = urlsplit(answer.headers["location"])
    assert f"{location.scheme}://{location.netloc}{location.path}" == f"{site.hub.public_url}/hub/api/oauth2/authorize"
    query = parse_qs(location.query)
    assert query["redirect_uri"] == [site.hub.callback]
    assert query["code_challenge_method"] == ["S256"]
    assert len(query["code_challenge"][0]) == 43
    assert len(query["state"][0]) == 43
    (cookie,) = answer.headers.get_list("set-cookie")
    assert query["state"][0] not in cookie
    assert {"HttpOnly", "SameSite=lax", "Path=/api/v1/auth"} <= set(cookie.split("; "))


def test_another_site_s_page_cannot_begin_a_sign_in(site: HubSite) -> None:
    answer = httpx.get(f"{site.api}/api/v1/auth/hub/start", headers={"Sec-Fetch-Site": "cross-site"}, trust_env=False)
    assert answer.status_code == 403


def test_nothing_in_a_request_says_where_the_browser_goes_after_signing_in(
    site: HubSite, teacher: httpx.Client
) -> None:
    callback = begun(site, teacher)
    answer = teacher.get(
        f"{callback}&next=https://evil.example&redirect=//evil.example",
        headers={"X-Forwarded-Host": "evil.example", "Referer": "https://evil.example/"},
        follow_redirects=False,
    )
    assert answer.headers["location"] == f"{site.api}/"


def test_login_csrf_signs_nobody_in(site: HubSite, teacher: httpx.Client) -> None:
    # The attacker's own code and state, opened in the browser of another person.
    attackers = begun(site, teacher)
    with httpx.Client(trust_env=False) as victim:
        assert failure(site, victim.get(attackers)) == "hub_sign_in_invalid"
    with site.hub.browser("suzuki") as victim:
        begun(site, victim)  # The victim has begun a sign-in of their own as well.
        assert failure(site, victim.get(attackers, follow_redirects=False)) == "hub_sign_in_invalid"
        assert site.token(victim) is None


@pytest.mark.parametrize(
    "change", [{"state": "x" * 43}, {"state": ""}, {"state": None}], ids=["forged", "empty", "none"]
)
def test_a_forged_state_signs_nobody_in(site: HubSite, teacher: httpx.Client, change: dict[str, str | None]) -> None:
    callback = begun(site, teacher)
    query = {name: values[0] for name, values in parse_qs(urlsplit(callback).query).items()} | change
    forged = f"{site.hub.callback}?{urlencode({name: value for name, value in query.items() if value is not None})}"
    assert failure(site, teacher.get(forged, follow_redirects=False)) == "hub_sign_in_invalid"
    # The attempt is over: not even the right answer counts now.
    assert failure(site, teacher.get(callback, follow_redirects=False)) == "hub_sign_in_invalid"
    assert site.token(teacher) is None


def with_code(site: HubSite, browser: httpx.Client, code: str) -> httpx.Response:
    """Return the answer to a browser that comes back from a sign-in of its own with another code."""
    state = parse_qs(urlsplit(begun(site, browser)).query)["state"][0]
    return browser.get(f"{site.hub.callback}?{urlencode({'code': code, 'state': state})}", follow_redirects=False)


def test_a_code_that_was_stolen_does_not_serve_in_another_browser(
    site: HubSite, teacher: httpx.Client, hub: HubProcess
) -> None:
    callback = begun(site, teacher)
    code = parse_qs(urlsplit(callback).query)["code"][0]
    with site.hub.browser("tanaka") as thief:
        if hub.version >= (6,):
            # JupyterHub 5 takes any code verifier (docs/operations/jupyterhub.md): there a code serves once, for the first who brings it.
            assert failure(site, with_code(site, thief, code)) == "hub_sign_in_refused"
            code = parse_qs(urlsplit(callback := begun(site, teacher)).query)["code"][0]
        assert teacher.get(callback, follow_redirects=False).headers["location"] == f"{site.api}/"
        assert failure(site, with_code(site, thief, code)) == "hub_sign_in_refused"
        assert site.token(thief) is None


def test_what_a_visiting_instructor_leaves_in_a_student_s_server_signs_nobody_in(
    site: HubSite, teacher: httpx.Client, server_of_tanaka: dict[str, str]
) -> None:
    client, callback = "jupyterhub-user-tanaka", "/hub-test/user/tanaka/oauth_callback"
    code = site.hub.oauth_code(teacher, client, callback)
    token = site.hub.oauth_token(teacher, client, server_of_tanaka["JUPYTERHUB_API_TOKEN"], callback)
    assert site.get("me", token).status_code == 401
    for audience in ("api", "gateway"):
        assert site.exchange(token, audience).status_code in {401, 403}
    with site.hub.browser("tanaka") as student:
        for stolen in (code, token):
            assert failure(site, with_code(site, student, stolen)) == "hub_sign_in_refused"
        student.cookies.set("cell_monitor_sign_in", token, domain="127.0.0.1", path="/api/v1/auth")
        assert site.token(student) is None


def test_the_token_of_the_page_s_own_sign_in_is_no_token_of_ours(site: HubSite, teacher: httpx.Client) -> None:
    token = site.hub.oauth_token(teacher)
    assert site.get("me", token).status_code == 401
    assert site.exchange(token, "api").status_code in {401, 403}


def test_a_hub_user_with_the_name_of_a_local_account_is_another_person(site: HubSite, teacher: httpx.Client) -> None:
    local = site.add_local_admin("teacher", PASSWORD, course_id="chemistry")
    token = signed_in(site, teacher)
    me = site.get("me", token).json()
    assert me["person_id"] != str(local)
    assert (me["is_admin"], site.courses_of(token)) == (False, {"physics": "instructor"})
    by_password = httpx.post(
        f"{site.api}/api/v1/auth/login", json={"username": "teacher", "password": PASSWORD}, trust_env=False
    )
    assert site.courses_of(by_password.json()["access_token"]) == {"chemistry": "instructor"}


def test_names_that_look_alike_sign_in_as_two_people(site: HubSite) -> None:
    names = ["sato", "".join(chr(ord(letter) + 0xFEE0) for letter in "sato")]  # full width
    seen = {}
    for name in names:
        with site.hub.browser(name) as browser:
            # The Hub knows a user after their first sign-in there.
            site.hub.put_groups({"course-physics-teachers": names[:1]})
            token = signed_in(site, browser)
            seen[site.get("me", token).json()["person_id"]] = site.courses_of(token)
    assert list(seen.values()) == [{"physics": "instructor"}, {}]


def test_signing_out_cannot_be_undone_by_a_replay(site: HubSite, teacher: httpx.Client) -> None:
    callback = begun(site, teacher)
    attempt = dict(teacher.cookies)
    assert teacher.get(callback, follow_redirects=False).headers["location"] == f"{site.api}/"
    token = site.token(teacher)
    cookie = teacher.cookies.get("cell_monitor_sign_in", path="/api/v1/auth")
    assert token is not None
    assert cookie is not None
    assert teacher.post(f"{site.api}/api/v1/auth/logout").status_code == 204
    site.hub.wait(lambda: site.get("me", token).status_code == 401, 30)
    with httpx.Client(trust_env=False) as replaying:
        replaying.cookies.set("cell_monitor_sign_in", cookie, domain="127.0.0.1", path="/api/v1/auth")
        assert site.token(replaying) is None
        for name, value in attempt.items():
            replaying.cookies.set(name, value, domain="127.0.0.1", path="/api/v1/auth")
        assert failure(site, replaying.get(callback)) == "hub_sign_in_refused"


LOSSES = {
    "signed out at the Hub": lambda site, browser: site.hub.sign_out(browser),
    "removed from the Hub": lambda site, _: site.hub.remove_user("watanabe"),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES.keys())
def test_who_is_not_signed_in_at_the_hub_any_more_is_signed_out_here(site: HubSite, lose: Any) -> None:
    with site.hub.browser("watanabe") as browser:
        site.hub.put_groups({"course-physics-teachers": ["watanabe"]})
        token = signed_in(site, browser)
        with site.live(token, "physics") as live:
            site.hub.wait(live.subscribed)
            lose(site, browser)
            site.hub.wait(lambda: site.get("me", token).status_code == 401, WITHIN_S)
            site.hub.wait(live.closed, 10)
        assert live.close_code == 3005
        assert site.token(browser) is None


def test_a_group_that_the_user_lost_closes_the_course_and_leaves_the_other(
    site: HubSite, teacher: httpx.Client
) -> None:
    site.hub.put_groups({"course-physics-teachers": ["teacher"], "course-chemistry-teachers": ["teacher"]})
    token = signed_in(site, teacher)
    assert site.courses_of(token) == {"chemistry": "instructor", "physics": "instructor"}
    with site.live(token, "physics") as live:
        site.hub.wait(live.subscribed)
        site.hub.put_groups({"course-chemistry-teachers": ["teacher"]})
        site.hub.wait(lambda: site.get("courses/physics/state", token).status_code == 401, WITHIN_S)
        site.hub.wait(live.closed, 10)
    renewed = site.token(teacher)
    assert renewed is not None
    assert site.courses_of(renewed) == {"chemistry": "instructor"}
    # A process of the API keeps what it read of a membership for five seconds.
    site.hub.wait(lambda: site.get("courses/physics/state", renewed).status_code == 404, 30)


def test_a_hub_that_does_not_answer_is_said_and_ends_no_sign_in_at_once(site: HubSite, teacher: httpx.Client) -> None:
    token = signed_in(site, teacher)
    with site.hub.browser("suzuki") as other:
        callback = begun(site, other)
        with site.hub.suspended():
            assert failure(site, other.get(callback, follow_redirects=False)) == "hub_unavailable"
            assert site.token(teacher) is not None
            assert site.get("me", token).status_code == 200
