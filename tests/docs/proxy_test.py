"""Hazard: a documented proxy configuration exposes metrics or probes to the Internet."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cell_monitor_core.web.health import Health, health_router
from cell_monitor_gateway.app import WEBSOCKET_PATH

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/operations/network.md").read_text(encoding="utf-8")
INSIDE = [route.path for route in health_router(Health()).routes]
OUTSIDE = ["/", "/courses/metrics-101", "/metricsfoo", "/assets/livez.js", "/api/v1/events", WEBSOCKET_PATH]


def recipe(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    return str(found)


def nginx_refuses(configuration: str, path: str) -> bool:
    patterns = re.findall(r"location ~ (\S+) \{\s*return 404;", configuration)
    exact = re.findall(r"location = (\S+) \{\s*return 404;", configuration)
    return path in exact or any(re.search(pattern, path) for pattern in patterns)


def caddy_refuses(configuration: str, path: str) -> bool:
    assert "respond @inside 404" in configuration
    [patterns] = re.findall(r"@inside path (.*)", configuration)
    return any(
        path.startswith(pattern.removesuffix("*")) if pattern.endswith("*") else path == pattern
        for pattern in patterns.split()
    )


def haproxy_refuses(configuration: str, path: str) -> bool:
    [pattern] = re.findall(r"http-request deny deny_status 404 if \{ path_reg (\S+) \}", configuration)
    return bool(re.search(pattern, path))


RECIPES = [("nginx", nginx_refuses), ("caddy", caddy_refuses), ("haproxy", haproxy_refuses)]


@pytest.mark.parametrize(("language", "refuses"), RECIPES)
def test_internal_paths_are_refused_and_no_others(language, refuses):
    assert {"/metrics", "/readyz", "/livez"} <= set(INSIDE)
    configuration = recipe(language)
    assert [path for path in INSIDE if not refuses(configuration, path)] == []
    assert [path for path in OUTSIDE if refuses(configuration, path)] == []


def test_only_the_websocket_reaches_the_gateway():
    places = re.findall(r"location (.*?) \{[^}]*proxy_pass http://127.0.0.1:8901;", recipe("nginx"))
    assert places == [f"= {WEBSOCKET_PATH}"]
    assert re.findall(r"reverse_proxy (.*?)127.0.0.1:8901", recipe("caddy")) == [f"{WEBSOCKET_PATH} "]
    assert re.findall(r"use_backend gateway if \{ (.*) \}", recipe("haproxy")) == [f"path {WEBSOCKET_PATH}"]


def test_the_dashboards_nginx_answers_no_path_of_the_services_with_a_page():
    configuration = (REPOSITORY / "dashboard/nginx/default.conf.template").read_text(encoding="utf-8")
    # nginx answers /livez for itself.
    paths = [path for path in INSIDE if path != "/livez"]
    assert [path for path in [*paths, WEBSOCKET_PATH] if not nginx_refuses(configuration, path)] == []
