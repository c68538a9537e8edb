"""Hazards, on a real JupyterHub: somebody sends as another person; a student's server cannot send; a removed one goes on."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.auth.tokens import Claims, TokenVerifier
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.storage.postgres import api_keys, memberships, people
from cell_monitor_testing.hub_site import HubSite

pytestmark = [pytest.mark.timeout(300)]


class _Keys:
    """The public half of the API's signing keys."""

    generation = 0

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys

    def get(self, kid: str) -> Any:
        return self._keys.private_key.public_key() if kid == self._keys.active else None


def claims_of(site: HubSite, token: str) -> Claims:
    """Return what a token for ingest says, verified."""
    asked_at = time.time()
    answer = site.exchange(token)
    assert answer.status_code == 200, answer.text
    # By the time of the question: such a token may be valid for one second only, and a loaded machine takes longer.
    keys = _Keys(SigningKeys.load(site.secrets.signing_keys))
    return TokenVerifier(keys, "ingest", clock=lambda: asked_at).verify(answer.json()["access_token"])


def fault(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["detail"][0]["type"]


def an_event() -> dict[str, Any]:
    return {
        "event_id": str(new_event_id()),
        "type": "heartbeat",
        "schema_version": 1,
        "occurred_at": "2026-11-27T10:00:00Z",
        "session_id": str(uuid4()),
        "seq": 1,
        "notebook": {"id": "n1", "path": "a.ipynb"},
        "data": {"queued": 0, "dropped": 0, "visible": True},
    }


@pytest.fixture
def tanaka(site: HubSite, server_of_tanaka: dict[str, str]) -> dict[str, str]:
    """The same of a student in the group of a course."""
    site.hub.put_groups({"course-physics-students": ["tanaka"], "another group": ["tanaka"]})
    return server_of_tanaka


def test_a_students_server_sends_in_its_users_name_without_any_key(site: HubSite, tanaka: dict[str, str]) -> None:
    assert [name for name in tanaka if name.startswith("CELL_MONITOR_API_KEY")] == []
    token = tanaka["JUPYTERHUB_API_TOKEN"]
    answer = site.hub.wait(lambda: _accepted(site, token))
    assert [result["status"] for result in answer.json()["results"]] == ["accepted"], answer.text
    claims = claims_of(site, tanaka["CELL_MONITOR_HUB_TOKEN"])
    assert claims.person_id == site.person("tanaka")
    assert claims.courses == {"physics": "student"}
    assert (claims.aud, claims.admin, claims.scopes) == (("ingest",), False, ())


def _accepted(site: HubSite, token: str) -> Any:
    answer = site.hub.post("tanaka", token, "cell-monitor", {"events": [an_event()]})
    return answer if answer.status_code == 200 else None


@pytest.mark.parametrize("variable", ["CELL_MONITOR_HUB_TOKEN", "JUPYTERHUB_API_TOKEN"])
def test_what_a_server_holds_is_good_for_sending_and_nothing_else(
    site: HubSite, tanaka: dict[str, str], variable: str
) -> None:
    token = tanaka[variable]
    assert claims_of(site, token).exp - claims_of(site, token).iat <= 10
    for audience in ("api", "gateway"):
        assert fault(site.exchange(token, audience)) == (403, "insufficient_scope")
    assert fault(site.exchange(token, act_as="teacher")) == (403, "insufficient_scope")


def test_a_token_that_a_visiting_instructor_left_is_refused(site: HubSite, tanaka: dict[str, str]) -> None:
    site.hub.put_groups({"course-physics-teachers": ["teacher"]})
    with site.hub.browser("teacher") as browser:
        visiting = site.hub.oauth_token(
            browser,
            client_id="jupyterhub-user-tanaka",
            secret=tanaka["JUPYTERHUB_API_TOKEN"],
            callback="/hub-test/user/tanaka/oauth_callback",
        )
    assert fault(site.exchange(visiting)) == (401, "invalid_hub_token")
    assert site.person("teacher") is None


def test_a_token_of_the_page_s_own_sign_in_sends_nothing(site: HubSite) -> None:
    with site.hub.browser("teacher") as browser:
        token = site.hub.oauth_token(browser)
    assert fault(site.exchange(token)) == (401, "invalid_hub_token")


def test_a_service_s_token_and_an_invented_one_are_refused(site: HubSite) -> None:
    for token in ("service-" + "s" * 32, "invented", "a" * 5000):
        assert fault(site.exchange(token))[0] in {401, 422}, token[:20]


def test_names_that_look_alike_are_two_people_and_neither_is_the_local_account(site: HubSite) -> None:
    local = site.sql(
        lambda pool: people.upsert(
            pool,
            KeyRing.from_json(site.secrets.encryption_keys),
            BlindIndex.from_text(site.secrets.index_key),
            username="sato",
        )
    )
    names = ["sato", "".join(chr(ord(letter) + 0xFEE0) for letter in "sato")]  # full width
    found = {claims_of(site, site.hub.start_server(name)["CELL_MONITOR_HUB_TOKEN"]).person_id for name in names}
    for name in names:
        site.hub.stop_server(name)
    assert len(found | {local}) == 3


def test_a_group_that_somebody_left_gives_nothing_any_more(site: HubSite, tanaka: dict[str, str]) -> None:
    token = tanaka["CELL_MONITOR_HUB_TOKEN"]
    assert claims_of(site, token).courses == {"physics": "student"}
    site.hub.put_groups({"course-physics-teachers": [], "course-chemistry-students": ["tanaka"]})
    # The course of the other group does not exist here.
    site.hub.wait(lambda: claims_of(site, token).courses == {}, 30)
    person = site.person("tanaka")
    assert person is not None
    assert site.sql(lambda pool: memberships.roles_of(pool, person)) == {}


def test_a_server_that_was_stopped_gets_no_more_tokens(site: HubSite) -> None:
    environment = site.hub.start_server("suzuki")
    tokens = [environment["CELL_MONITOR_HUB_TOKEN"], environment["JUPYTERHUB_API_TOKEN"]]
    assert [site.exchange(token).status_code for token in tokens] == [200, 200]
    site.hub.stop_server("suzuki")
    site.hub.wait(lambda: [site.exchange(token).status_code for token in tokens] == [401, 401], 30)
    # A newer Hub does not have what is deprecated in this one.
    assert "Spawner.db is deprecated" not in (site.hub.folder / "hub.log").read_text("utf-8", "replace")


def test_a_named_server_is_known_by_what_the_hub_says_of_its_token(site: HubSite) -> None:
    environment = site.hub.start_server("suzuki", "lab2")
    proven = claims_of(site, environment["JUPYTERHUB_API_TOKEN"])
    assert proven.server == "lab2"
    answer = site.exchange(environment["JUPYTERHUB_API_TOKEN"], server="another")
    assert json.loads(_payload(answer.json()["access_token"]))["server"] == "lab2"
    # The narrow token does not say of which server it is: the server does.
    said = site.exchange(environment["CELL_MONITOR_HUB_TOKEN"], server="lab2")
    assert json.loads(_payload(said.json()["access_token"]))["server"] == "lab2"
    site.hub.stop_server("suzuki", "lab2")


def _payload(token: str) -> bytes:
    part = token.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_an_admin_of_the_hub_is_none_of_this_site(site: HubSite) -> None:
    claims = claims_of(site, site.hub.start_server("boss")["CELL_MONITOR_HUB_TOKEN"])
    site.hub.stop_server("boss")
    assert not claims.admin
    assert claims.courses == {}


def test_a_hub_that_does_not_answer_is_said_with_when_to_try_again(site: HubSite, tanaka: dict[str, str]) -> None:
    with site.hub.suspended():
        answer = site.exchange(tanaka["CELL_MONITOR_HUB_TOKEN"])
        assert fault(answer) == (503, "hub_unavailable")
        assert 1 <= int(answer.headers["retry-after"]) <= 30
        token = tanaka["JUPYTERHUB_API_TOKEN"]
        assert token
    site.hub.wait(lambda: site.exchange(tanaka["CELL_MONITOR_HUB_TOKEN"]).status_code == 200)


def test_no_key_acts_as_a_user_of_the_hub(site: HubSite, tanaka: dict[str, str]) -> None:
    claims_of(site, tanaka["CELL_MONITOR_HUB_TOKEN"])
    _, key = site.sql(
        lambda pool: api_keys.create(
            pool, name="lab", scopes=["events:write", "people:act_as"], expires_at=_tomorrow(), person_id=None
        )
    )
    assert fault(site.exchange(key, scheme="ApiKey", act_as="tanaka")) == (403, "insufficient_scope")


def _tomorrow() -> Any:
    return datetime.now(UTC) + timedelta(days=1)
