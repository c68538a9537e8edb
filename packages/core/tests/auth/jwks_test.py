"""Hazards: a new key unknown to the gateway for minutes, a flood of unknown kids becoming a flood of fetches."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.jwks import RemoteKeys
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.auth.tokens import TokenInvalid, TokenIssuer, TokenVerifier, UnknownKey


class Endpoint:
    """A real HTTP server with a configurable answer."""

    def __init__(self):
        endpoint = self
        self.keys = SigningKeys.generate()
        self.status = 200
        self.body = None
        self.requests = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                endpoint.requests += 1
                body = json.dumps(endpoint.keys.public_jwks()).encode() if endpoint.body is None else endpoint.body
                self.send_response(endpoint.status)
                if endpoint.status == 302:
                    self.send_header("location", "http://127.0.0.1:1/")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def endpoint():
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


@pytest.fixture
def clock():
    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    return Clock()


def token_of(keys):
    return TokenIssuer(keys).issue(
        grant=Grant.SESSION, person_id="0190a0a0-0000-4000-8000-000000000000", audience=["gateway"]
    )[0]


async def test_rotated_key_is_known_after_a_refresh_and_the_old_one_is_not(endpoint, clock):
    async with RemoteKeys(endpoint.url, clock=clock) as keys:
        verifier = TokenVerifier(keys, "gateway")
        old = token_of(endpoint.keys)
        assert verifier.verify(old).sub
        endpoint.keys = SigningKeys.generate()
        new = token_of(endpoint.keys)
        with pytest.raises(UnknownKey):
            verifier.verify(new)
        clock.now += 11
        assert await keys.refresh()
        assert verifier.verify(new).sub
        assert endpoint.requests == 2
        # The old key is no longer in the set, so its tokens are refused, cached or not.
        with pytest.raises(UnknownKey):
            verifier.verify(old)


async def test_flood_of_unknown_kids_fetches_once_in_ten_seconds(endpoint, clock):
    async with RemoteKeys(endpoint.url, clock=clock) as keys:
        clock.now += 11
        assert [await keys.refresh() for _ in range(20)] == [True] + [False] * 19
        assert endpoint.requests == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (302, b""),
        (200, b"<html>"),
        (200, b""),
        (200, b"[" * 300_000),
        (200, b'{"keys": []}'),
        (200, b'{"keys": [{"kty": "RSA", "kid": "other", "n": "AQAB", "e": "AQAB"}]}'),
    ],
)
async def test_known_keys_stay_while_the_endpoint_misbehaves(endpoint, clock, status, body):
    async with RemoteKeys(endpoint.url, clock=clock) as keys:
        token = token_of(endpoint.keys)
        endpoint.status, endpoint.body = status, body
        clock.now += 11
        assert not await keys.refresh()
        assert TokenVerifier(keys, "gateway").verify(token).sub


async def test_unavailable_endpoint_at_start_refuses_all_tokens(clock):
    keys = RemoteKeys("http://127.0.0.1:1/jwks.json", clock=clock, timeout=1)
    assert not await keys.refresh()
    assert not keys.ready
    with pytest.raises(TokenInvalid):
        TokenVerifier(keys, "gateway").verify(token_of(SigningKeys.generate()))


def test_other_schemes_are_refused():
    with pytest.raises(ValueError, match="http"):
        RemoteKeys("file:///etc/passwd")
