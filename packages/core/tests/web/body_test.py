"""Hazards: a body that fills the memory, a body that never ends, a refusal that the framework replaces by its own."""

import asyncio
from typing import Annotated

import httpx
import pytest
from fastapi import Body, FastAPI, Request

from cell_monitor_core.web.body import BodyLimit
from cell_monitor_core.web.errors import install_error_handlers


def application(timeout=60):
    app = FastAPI()
    install_error_handlers(app)

    @app.post("/raw")
    async def raw(request: Request):
        return {"bytes": len(await request.body())}

    @app.post("/parsed")
    async def parsed(body: Annotated[dict, Body()]):
        return body

    return BodyLimit(app, max_bytes=1000, timeout=timeout)


async def post(path, content, headers=None, **limits):
    transport = httpx.ASGITransport(application(**limits))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post(path, content=content, headers=headers)


async def chunks(*parts, hang=False):
    for part in parts:
        yield part
    if hang:
        await asyncio.Event().wait()


def code(answer):
    return answer.status_code, answer.json()["detail"][0]["type"]


@pytest.mark.parametrize("path", ["/raw", "/parsed"])
async def test_body_at_the_limit_passes_and_one_byte_more_does_not(path):
    body = b'{"a": "' + b"x" * 991 + b'"}'
    assert (await post(path, body, {"content-type": "application/json"})).status_code == 200
    assert code(await post(path, body + b" ", {"content-type": "application/json"})) == (413, "body_too_large")


@pytest.mark.parametrize("path", ["/raw", "/parsed"])
async def test_chunked_body_is_refused_as_soon_as_it_exceeds_the_limit(path):
    answer = await post(path, chunks(b"x" * 600, b"x" * 600, hang=True), {"content-type": "application/json"})
    assert code(answer) == (413, "body_too_large")


@pytest.mark.parametrize("path", ["/raw", "/parsed"])
async def test_body_that_stops_is_answered_408_after_the_timeout(path):
    answer = await post(path, chunks(b"{", hang=True), {"content-type": "application/json"}, timeout=0.05)
    assert code(answer) == (408, "request_timeout")


@pytest.mark.parametrize(("length", "status"), [("1001", 413), ("9" * 5000, 413), ("-1", 400), ("ten", 400), ("", 400)])
async def test_declared_length_is_checked_before_the_body_is_read(length, status):
    sent = []

    async def receive():
        raise AssertionError("the body must not be read")

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/raw", "headers": [(b"content-length", length.encode())]}
    await application()(scope, receive, send)
    assert sent[0]["status"] == status


async def test_waiting_for_the_disconnect_does_not_time_out():
    messages = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": b"x", "more_body": False})
    ended = []

    async def slow(_scope, receive, _send):
        await receive()
        ended.append(await receive())

    limit = BodyLimit(slow, max_bytes=10, timeout=0.02)
    serving = asyncio.create_task(limit({"type": "http", "headers": []}, messages.get, None))
    done, _ = await asyncio.wait({serving}, timeout=0.2)
    assert not done
    messages.put_nowait({"type": "http.disconnect"})
    await serving
    assert ended == [{"type": "http.disconnect"}]
