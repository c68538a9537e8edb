"""A JupyterHub's REST API, as far as it says whose a token is.

See https://jupyterhub.readthedocs.io/en/stable/reference/rest-api.html: ``GET /user`` with a token answers its owner.
"""

from __future__ import annotations

from typing import Final

import httpx
import msgspec

__all__ = ["HubApi", "HubRefusal", "HubSilence", "TokenOwner"]

_TIMEOUT: Final = httpx.Timeout(5.0, connect=2.0)
_MAX_ANSWER_BYTES: Final = 256 * 1024
_VERSION_HEADER: Final = "x-jupyterhub-version"


class HubRefusal(Exception):  # noqa: N818 - named for what is the matter
    """The Hub does not know the token, or not yet, or no longer."""


class HubSilence(Exception):  # noqa: N818 - named for what is the matter
    """The Hub did not answer, or something else answered in its place. The message is for logs and holds no secret."""


class TokenOwner(msgspec.Struct, frozen=True):
    """What the Hub says of a token.

    Attributes:
        kind: ``user`` or ``service``.
        name: of the user or service, exactly as the Hub spells it.
        scopes: what the token allows, expanded.
        groups: names of the user's groups.
        session_id: of the browser's session that an OAuth token belongs to; None for other tokens.
        admin: whether the user is an admin of the Hub.
    """

    kind: str
    name: str
    scopes: list[str]
    groups: list[str] = []
    session_id: str | None = None
    admin: bool = False


class HubApi:
    """Asks one Hub.

    Args:
        url: of its API, such as ``http://hub:8081/hub/api``.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        # Inside a cluster: a proxy of the environment would not know the Hub, and a redirect leads elsewhere.
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, follow_redirects=False)
        self._decoder = msgspec.json.Decoder(TokenOwner)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def owner_of(self, token: str) -> TokenOwner:
        """Return whose a token is.

        Raises:
            HubRefusal: the Hub does not know the token.
            HubSilence: no answer of a Hub.
        """
        try:
            request = self._client.build_request(
                "GET", f"{self._url}/user", headers={"Authorization": f"token {token}"}
            )
            response = await self._client.send(request, stream=True)
            try:
                body = await self._body(response)
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise HubSilence(type(error).__name__) from None
        # Without this header it is a proxy's answer: no proxy says whether a token is right.
        if _VERSION_HEADER not in response.headers:
            raise HubSilence(f"HTTP {response.status_code} without {_VERSION_HEADER}: not a JupyterHub's answer")
        if response.status_code in {401, 403}:
            raise HubRefusal
        if response.status_code != httpx.codes.OK:
            raise HubSilence(f"HTTP {response.status_code}")
        try:
            return self._decoder.decode(body)
        except (msgspec.DecodeError, RecursionError):
            raise HubSilence("an answer that cannot be read") from None

    @staticmethod
    async def _body(response: httpx.Response) -> bytes:
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > _MAX_ANSWER_BYTES:
                raise HubSilence(f"an answer of more than {_MAX_ANSWER_BYTES} bytes")
        return bytes(body)
