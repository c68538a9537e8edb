"""Every refusal has one form, and none of them says more than it should."""

from __future__ import annotations

import json

import pytest

from cell_monitor_api.failures import refusal_answer
from cell_monitor_core.administration.refusals import NotPermitted, Refusal, Unknown


def check(answer, status, code):
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"detail"}
    for detail in body["detail"]:
        assert {"type", "msg"} <= detail.keys() <= {"type", "msg", "loc"}
    assert body["detail"][0]["type"] == code


async def test_wrong_paths_and_methods(site):
    check(await site.client.get("/api/v1/nothing"), 404, "not_found")
    check(await site.client.get("/"), 404, "not_found")
    check(await site.client.get("/api/v1/events"), 405, "method_not_allowed")
    check(await site.client.post("/api/v1/me"), 405, "method_not_allowed")
    check(await site.client.post("/api/v1/events/"), 404, "not_found")
    check(await site.client.get("/docs"), 404, "not_found")


async def test_broken_json(site):
    headers = {"content-type": "application/json"}
    for body in (b"{", b"\xff", b"[" * 100_000):
        answer = await site.client.post("/api/v1/auth/login", content=body, headers=headers)
        assert answer.status_code in {400, 422}
        assert answer.json()["detail"][0]["type"]


async def test_an_unexpected_fault_says_nothing_of_itself(site, monkeypatch):
    await site.course("c1", ivy="instructor")

    async def broken(_claims):
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(site.process.sessions, "me", broken, raising=False)
    site.client._transport.raise_app_exceptions = False
    answer = await site.client.get("/api/v1/me", headers=site.bearer("ivy"))
    check(answer, 500, "internal_error")
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/api/v1/config"])
async def test_probes_need_no_token(site, path):
    assert (await site.client.get(path)).status_code == 200


async def test_metrics_name_nobody(site, make_event):
    await site.course("secret-course", annabelle="student")
    await site.send("annabelle", make_event())
    text = (await site.client.get("/metrics")).text
    assert "cell_monitor_events_accepted_total" in text
    assert "annabelle" not in text
    assert "secret-course" not in text


async def test_the_dashboard_learns_where_the_gateway_is(make_site):
    async with make_site(gateway_url="https://monitor.test/ws") as site:
        answer = await site.client.get("/api/v1/config")
        assert answer.json() == {
            "gateway_url": "wss://monitor.test/ws",
            "version": "0.1.0",
            "sign_in": [{"kind": "password"}],
            "extension": None,
        }


def test_every_refusal_of_a_change_has_its_answer():
    kinds = set(Refusal.__subclasses__())
    assert kinds >= {Unknown, NotPermitted}
    for kind in kinds:
        assert refusal_answer(kind("what is wrong", field=["members", 3])).status_code in range(400, 500)


def test_the_answer_to_a_refusal_names_the_fault_and_its_place():
    answer = refusal_answer(Unknown("nobody has this name", field=["username"]))
    body = json.loads(answer.body)
    assert answer.status_code == 404
    assert body == {"detail": [{"type": "not_found", "msg": "nobody has this name", "loc": ["body", "username"]}]}
