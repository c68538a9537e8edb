"""Hazard: the worker's port, which needs no token, serves more than probes and metrics."""

from __future__ import annotations

from typing import Any

import httpx
from fastapi.routing import iter_route_contexts

from cell_monitor_core.web.health import Health, create_health_app

ROUTES = {("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics")}


def test_the_worker_serves_these_routes_and_no_others() -> None:
    found = {
        (method, route.path)
        for route in iter_route_contexts(create_health_app(Health({})).routes)
        for method in (route.methods or {"every method"}) - {"HEAD"}
    }
    assert found == ROUTES


async def test_these_routes_answer_without_a_token_and_no_others(stage: Any) -> None:
    async with stage.worker() as worker, httpx.AsyncClient(base_url=worker.url, trust_env=False) as client:
        for method, path in ROUTES:
            assert (await client.request(method, path)).status_code == 200, path
        for path in ("/", "/openapi.json", "/docs", "/api/v1/courses", "/internal/drain"):
            for method in ("GET", "POST"):
                assert (await client.request(method, path)).status_code == 404, (method, path)
