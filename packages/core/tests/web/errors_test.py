"""Hazards: an error that programs cannot parse, one that repeats a password, or one that shows an exception."""

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from cell_monitor_core.web.errors import ClientRequestError, error_response, install_error_handlers


class CourseError(ClientRequestError):
    error = "course_forbidden"
    status_code = 403


class SignInError(ClientRequestError):
    error = "not_authenticated"
    status_code = 401


class SignIn(BaseModel):
    username: str
    password: int


@pytest.fixture
async def client():
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/forbidden")
    async def forbidden():
        raise CourseError("not yours", loc=("body", 0), headers={"Retry-After": "5"})

    @app.get("/token")
    async def token():
        raise SignInError("sign in first")

    @app.get("/broken")
    async def broken():
        raise RuntimeError("the database's password is hunter2")

    @app.post("/sign-in")
    async def sign_in(body: SignIn):
        return body

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_refusal_has_code_message_location_and_headers(client):
    answer = await client.get("/forbidden")
    assert answer.status_code == 403
    assert answer.json() == {"detail": [{"type": "course_forbidden", "msg": "not yours", "loc": ["body", 0]}]}
    assert answer.headers["retry-after"] == "5"


async def test_response_for_asgi_equals_the_response_of_fastapi(client):
    status, headers, body = error_response(CourseError("not yours", loc=("body", 0), headers={"Retry-After": "5"}))
    answer = await client.get("/forbidden")
    assert (answer.status_code, answer.content) == (status, body)
    assert {(name.lower(), value) for name, value in answer.headers.raw} == set(headers)


async def test_401_names_the_authentication_scheme(client):
    answer = await client.get("/token")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json() == {"detail": [{"type": "not_authenticated", "msg": "sign in first"}]}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "not_found"), ("DELETE", "/token", 405, "method_not_allowed")],
)
async def test_frameworks_own_errors_have_the_same_form(client, method, path, status, code):
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert [detail["type"] for detail in answer.json()["detail"]] == [code]


async def test_invalid_body_is_located_and_not_repeated(client):
    answer = await client.post("/sign-in", json={"password": "hunter2"})
    assert answer.status_code == 422
    assert [detail["loc"] for detail in answer.json()["detail"]] == [["body", "username"], ["body", "password"]]
    assert "hunter2" not in answer.text


async def test_unexpected_exception_is_not_shown(client):
    answer = await client.get("/broken")
    assert answer.status_code == 500
    assert answer.json()["detail"][0]["type"] == "internal_error"
    assert "hunter2" not in answer.text
    assert error_response(None)[2] == answer.content
