"""Hazard: a cookie of a sign-in that another site on the same host, or somebody in the network, can set or read."""

from __future__ import annotations

import pytest
from starlette.responses import Response

from cell_monitor_api.cookies import CookieScope

# The prefixes' rules: draft-ietf-httpbis-rfc6265bis, section 4.1.3.
CASES = [
    ("https://monitor.example.org", "__Host-x", {"Path=/", "Secure", "HttpOnly", "SameSite=lax"}),
    ("https://monitor.example.org/", "__Host-x", {"Path=/", "Secure", "HttpOnly", "SameSite=lax"}),
    ("https://example.org/monitor/", "__Secure-x", {"Path=/monitor", "Secure", "HttpOnly", "SameSite=lax"}),
    ("http://127.0.0.1:8900", "x", {"Path=/", "HttpOnly", "SameSite=lax"}),
]


@pytest.mark.parametrize(("url", "name", "attributes"), CASES)
def test_prefix_path_and_secure_follow_from_the_dashboard_s_address(url: str, name: str, attributes: set[str]) -> None:
    response = Response()
    CookieScope.of(url).set(response, "x", "value", max_age=60)
    first, *rest = response.headers["set-cookie"].split("; ")
    assert first == f"{name}=value"
    assert set(rest) == attributes | {"Max-Age=60"}
