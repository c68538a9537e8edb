"""Hazard: a page of another site, or a stranger, sends events through a student's Jupyter server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ROUTES = [
    ("POST", "/cell-monitor"),
    ("GET", "/cell-monitor/status"),
    ("POST", "/cell-monitor/notebooks"),
    ("PUT", "/cell-monitor/notebooks"),
]


def test_only_the_servers_own_pages_of_a_signed_in_student_reach_the_monitor(jupyter: Callable[..., Any]) -> None:
    server = jupyter()
    with server.client(signed_in=False) as stranger:
        for method, path in ROUTES:
            assert stranger.request(method, path, json={}).status_code == 403, path
    # With the cookies of a student's browser, which it also sends for pages of other sites.
    with server.client() as browser:
        own = {"X-XSRFToken": browser.headers.pop("X-XSRFToken")}
        foreign = {"Origin": "https://evil.example.org"}
        for method, path in ROUTES:
            assert browser.request(method, path, json={}, headers=own | foreign).status_code == 404, path
            if method != "GET":
                # A form of another site cannot read the cookie, and so not repeat it in the header.
                assert browser.request(method, path, json={}).status_code == 403, path
        assert browser.get("/cell-monitor/status").status_code == 200
        assert browser.post("/cell-monitor", json={"events": []}, headers=own).status_code not in {403, 404}
