"""Hazards: a cookie of a sign-in that another site on the same host, or somebody in the network, can set or read; or a
browser refuses it, and nobody can sign in.
"""

from __future__ import annotations

import httpx
import pytest
from starlette.responses import Response

from cell_monitor_api.cookies import CookieScope

# The prefixes' rules: draft-ietf-httpbis-rfc6265bis, section 4.1.3.
CASES = [
    ("https://monitor.example.org", "__Host-x", {"Path=/", "Secure", "HttpOnly", "SameSite=lax"}),
    ("https://monitor.example.org/", "__Host-x", {"Path=/", "Secure", "HttpOnly", "SameSite=lax"}),
    ("https://example.org/monitor/", "__Secure-x", {"Path=/monitor", "Secure", "HttpOnly", "SameSite=lax"}),
    # JupyterLab of the same machine has the same host, and gets cookies of the path /.
    ("http://127.0.0.1:8900", "x", {"Path=/api/v1/auth", "HttpOnly", "SameSite=lax"}),
    (None, "x", {"Path=/api/v1/auth", "HttpOnly", "SameSite=lax"}),
]


@pytest.mark.parametrize(("url", "name", "attributes"), CASES)
def test_prefix_path_and_secure_follow_from_the_dashboard_s_address(
    url: str | None, name: str, attributes: set[str]
) -> None:
    response = Response()
    CookieScope.of(url).set(response, "x", "value", max_age=60)
    first, *rest = response.headers["set-cookie"].split("; ")
    assert first == f"{name}=value"
    assert set(rest) == attributes | {"Max-Age=60"}


PASSWORD = "correct horse battery"
SIGN_IN, DEVICE, ATTEMPT = "cell_monitor_sign_in", "cell_monitor_device", "cell_monitor_hub_sign_in"
ADDRESSES = {
    "an origin of its own": ("https://monitor.example.org", "__Host-", "/"),
    "a path of a shared origin": ("https://example.org/monitor", "__Secure-", "/monitor"),
    "plain http": ("http://127.0.0.1:8900", "", "/api/v1/auth"),
}


@pytest.fixture(params=ADDRESSES.values(), ids=ADDRESSES.keys())
async def placed(request, make_site):
    """An installation at one of the addresses, with somebody who can sign in; also with what its cookies must be like."""
    url, prefix, path = request.param
    hub = {
        "api_hub_url": "http://127.0.0.1:9/hub/api",
        "api_hub_public_url": "https://jupyter.example.org/hub/api",
        "api_hub_token": "secret",
        "api_hub_roster_s": 0,
    }
    async with make_site(public_url=url, **hub) as site:
        await site.person("ivy", password=PASSWORD)
        yield site, prefix, path


def cookies_of(answer: httpx.Response) -> dict[str, tuple[str, set[str]]]:
    """Return value and attributes of each cookie that an answer sets, by its name."""
    parts = [line.split("; ") for line in answer.headers.get_list("set-cookie")]
    return {pair.partition("=")[0]: (pair.partition("=")[2], set(attributes)) for pair, *attributes in parts}


async def login(site) -> httpx.Response:
    answer = await site.client.post("/api/v1/auth/login", json={"username": "ivy", "password": PASSWORD})
    # The tests say themselves what is sent.
    site.client.cookies.clear()
    return answer


async def test_every_cookie_has_the_name_and_the_path_of_the_address(placed) -> None:
    site, prefix, path = placed
    signed_in = cookies_of(await login(site))
    begun = cookies_of(await site.client.get("/api/v1/auth/hub/start"))
    assert signed_in.keys() == {f"{prefix}{SIGN_IN}", f"{prefix}{DEVICE}"}
    assert begun.keys() == {f"{prefix}{ATTEMPT}"}
    for _, attributes in (signed_in | begun).values():
        assert {f"Path={path}", "HttpOnly"} <= attributes
        assert ("Secure" in attributes) == bool(prefix)
        # A domain would send it to other hosts, and __Host- forbids it.
        assert not any(attribute.startswith("Domain") for attribute in attributes)
    for _, attributes in signed_in.values():
        assert "SameSite=strict" in attributes


async def test_the_sign_in_goes_on_with_its_cookie_and_ends_by_the_same_name(placed) -> None:
    site, prefix, path = placed
    name = f"{prefix}{SIGN_IN}"
    cookie = {"cookie": f"{name}={cookies_of(await login(site))[name][0]}"}
    assert (await site.client.post("/api/v1/auth/refresh", headers=cookie)).status_code == 200
    assert (await site.client.get("/api/v1/auth/password", headers=cookie)).status_code == 200
    removed = cookies_of(await site.client.post("/api/v1/auth/logout", headers=cookie))
    value, attributes = removed[name]
    # A browser takes neither a prefix without Secure nor a removal from another path.
    assert value.strip('"') == ""
    assert {"Max-Age=0", f"Path={path}"} <= attributes
    assert ("Secure" in attributes) == bool(prefix)
    assert (await site.client.post("/api/v1/auth/refresh", headers=cookie)).status_code == 401


async def test_a_name_that_others_on_the_host_can_set_is_not_read(make_site) -> None:
    # A page below another path, or a machine in the network that answers in place of http://monitor.example.org, can set
    # this name: login CSRF, and the sign-ins of the release before.
    async with make_site(public_url="https://monitor.example.org") as site:
        await site.person("ivy", password=PASSWORD)
        value, _ = cookies_of(await login(site))[f"__Host-{SIGN_IN}"]
        for name in (SIGN_IN, f"__Secure-{SIGN_IN}"):
            answer = await site.client.post("/api/v1/auth/refresh", headers={"cookie": f"{name}={value}"})
            assert answer.status_code == 401
