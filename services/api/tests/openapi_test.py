"""The documented API is the running one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from fastapi.routing import APIRoute, iter_route_contexts

from cell_monitor_api.main import create_api
from cell_monitor_api.openapi import document

DOCUMENT = Path(__file__).parents[3] / "docs" / "dev" / "openapi.json"


def test_the_committed_document_is_up_to_date():
    expected = document(create_api(None))
    assert json.loads(DOCUMENT.read_text()) == expected, "run make generate"


def test_the_command_prints_the_committed_document():
    done = subprocess.run(
        [sys.executable, "-m", "cell_monitor_api", "openapi"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == DOCUMENT.read_text()


async def test_the_running_api_gives_the_same_document(site):
    answer = await site.client.get("/api/v1/openapi.json")
    assert answer.json() == json.loads(DOCUMENT.read_text())


def test_every_reference_in_the_document_leads_somewhere():
    text = DOCUMENT.read_text()
    schemas = json.loads(text)["components"]["schemas"]
    used = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert used <= set(schemas)
    # Components are reached from routes, or from components that are.
    assert set(schemas) - used == set()


def test_every_route_says_what_it_answers():
    for route in iter_route_contexts(create_api(None).routes):
        if isinstance(route.original_route, APIRoute) and route.include_in_schema:
            assert route.original_route.endpoint.__doc__, route.path
            if route.status_code != 204 and not route.path.endswith("jwks.json"):
                assert route.responses, route.path
