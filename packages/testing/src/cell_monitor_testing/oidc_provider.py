"""A real OpenID Connect provider (npm's ``oidc-provider``) as a process, and the browsers of its people."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from cell_monitor.embedded.process import ChildProcess, free_port

__all__ = ["CLIENT_ID", "CLIENT_SECRET", "OTHER_CLIENT", "OidcProviderProcess"]

CLIENT_ID: Final = "cell-monitor"
CLIENT_SECRET: Final = "a secret+with/all:%that form-encoding changes"  # noqa: S105 - of a test's client
OTHER_CLIENT: Final = "another-service"
"""Another client of the provider, with the same secret and redirect address."""
_PROGRAM: Final = Path(__file__).parents[4] / "tests/oidc/provider.mjs"
_START_S: Final = 60.0
_FORM_ACTION: Final = re.compile(r'<form[^>]* action="([^"]+)"')


class OidcProviderProcess:
    """The provider; ``start`` it before anything else.

    Args:
        folder: an existing folder for its log.
        callback: where it sends browsers back to.
        people: claims by subject.
        auth_method: how the client sends its secret; the provider refuses other ways.
        algorithm: that it signs the client's id_tokens with: RS256, ES256 or EdDSA.
    """

    def __init__(
        self,
        folder: Path,
        *,
        callback: str,
        people: Mapping[str, Mapping[str, Any]],
        auth_method: str = "client_secret_basic",
        algorithm: str = "RS256",
    ) -> None:
        port = free_port()
        self.issuer = f"http://127.0.0.1:{port}"
        self.callback = callback
        client = {
            "client_secret": CLIENT_SECRET,
            "redirect_uris": [callback],
            "scope": "openid profile groups",
            "token_endpoint_auth_method": auth_method,
            "id_token_signed_response_alg": algorithm,
        }
        settings = {
            "port": port,
            "clients": [client | {"client_id": name} for name in (CLIENT_ID, OTHER_CLIENT)],
            "people": people,
        }
        node = shutil.which("node")
        assert node is not None, "Node.js is not on the PATH"
        self._process = ChildProcess(
            "oidc-provider", [node, _PROGRAM, json.dumps(settings)], log_path=folder / "oidc-provider.log"
        )

    def start(self) -> None:
        """Start it, with new keys, and wait until it answers.

        Raises:
            EmbeddedServerError: it ended or did not answer in time.
        """
        modules = _PROGRAM.with_name("node_modules")
        assert modules.exists(), "run `make test`, which installs the provider's modules: (cd tests/oidc && npm ci)"
        self._process.start()
        self._process.wait_until(self._answers, timeout=_START_S)

    def stop(self) -> None:
        """Stop it."""
        self._process.stop()

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(f"{self.issuer}/.well-known/openid-configuration", trust_env=False)
            return answer.status_code == httpx.codes.OK
        return False

    def answered(self, browser: httpx.Client, location: str, subject: str) -> str:
        """Sign a person in at the provider's page, allow what it asks, and return where it sends the browser, unopened.

        Args:
            browser: keeps the provider's cookies.
            location: of the provider, to which the service has sent the browser.
            subject: who signs in, unless somebody has already with this browser.
        """
        answer = browser.get(location, follow_redirects=False)
        while not answer.headers.get("location", "").startswith(self.callback):
            if answer.is_redirect:
                answer = browser.get(str(answer.url.join(answer.headers["location"])), follow_redirects=False)
                continue
            form = _FORM_ACTION.search(answer.text)
            assert answer.status_code == httpx.codes.OK, f"{answer.status_code} {answer.text[:2000]}"
            assert form is not None, answer.text[:2000]
            prompt = "login" if 'value="login"' in answer.text else "consent"
            fields = {"prompt": prompt, "login": subject, "password": "any"}
            answer = browser.post(form[1], data=fields, follow_redirects=False)
        return str(answer.headers["location"])
