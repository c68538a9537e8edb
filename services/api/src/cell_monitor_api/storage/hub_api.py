"""A JupyterHub's REST API, as far as it says whose a token is and who is in which group, and gives tokens for codes.

See https://jupyterhub.readthedocs.io/en/stable/reference/rest-api.html: ``GET /user`` with a token answers its owner,
``POST /oauth2/token`` a token for a code (RFC 6749, section 4.1.3), ``GET /groups`` the groups with their users.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import httpx
import msgspec

from cell_monitor_api.storage.bounded_http import BoundedHttp, NoAnswer

__all__ = ["GrantedToken", "HubApi", "HubGroup", "HubRefusal", "HubSilence", "TokenOwner"]

_MAX_ANSWER_BYTES: Final = 256 * 1024
_GROUPS_A_PAGE: Final = 20
_MAX_GROUPS_BYTES: Final = 8 * 1024 * 1024
"""Of one page: 400 KiB a group, some 20,000 users."""
_PAGES: Final = "application/jupyterhub-pagination+json"
"""Without this the Hub answers with the first groups only."""
_VERSION_HEADER: Final = "x-jupyterhub-version"
_TOKEN_FAULTS: Final = frozenset(
    {"invalid_client", "invalid_grant", "invalid_request", "unauthorized_client", "unsupported_grant_type"}
)
"""Error codes of RFC 6749, section 5.2, that may be logged as they are."""
_Answer = TypeVar("_Answer")


class HubRefusal(Exception):  # noqa: N818 - named for what is the matter
    """The Hub does not know the token or the code, or not yet, or no longer."""


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


class GrantedToken(msgspec.Struct, frozen=True):
    """A token that the Hub gave for a code, and the seconds for which it is valid."""

    access_token: str
    expires_in: int

    def __repr__(self) -> str:
        """Leave the token out of logs and tracebacks."""
        return f"GrantedToken(expires_in={self.expires_in!r})"


class HubGroup(msgspec.Struct, frozen=True):
    """A group of the Hub, the names of its users, and what the Hub's admins wrote about it."""

    name: str
    users: list[str] = []
    properties: dict[str, Any] = {}


class _Pagination(msgspec.Struct, frozen=True):
    total: int


class _Groups(msgspec.Struct, frozen=True, rename={"pagination": "_pagination"}):
    items: list[HubGroup]
    pagination: _Pagination


class _TokenFault(msgspec.Struct, frozen=True):
    error: str = ""


class HubApi:
    """Asks one Hub.

    Args:
        url: of its API, such as ``http://hub:8081/hub/api``.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._http = BoundedHttp()
        self._owner = msgspec.json.Decoder(TokenOwner)
        self._groups = msgspec.json.Decoder(_Groups)
        self._granted = msgspec.json.Decoder(GrantedToken)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def owner_of(self, token: str) -> TokenOwner:
        """Return whose a token is.

        Raises:
            HubRefusal: the Hub does not know the token.
            HubSilence: no answer of a Hub.
        """
        return await self._get("/user", token, self._owner)

    async def groups(self, token: str, *, most: int) -> list[HubGroup]:
        """Return all groups that the token of a service may list.

        Args:
            token: of the service.
            most: groups that are read; with more there is no answer, as a part of them would remove people.

        Raises:
            HubRefusal: the Hub does not know the token, or the token may not list groups.
            HubSilence: no answer of a Hub, groups that changed while they were read, or too many.
        """
        found: dict[str, HubGroup] = {}
        totals: set[int] = set()
        offset = 0
        while True:
            path = f"/groups?offset={offset}&limit={_GROUPS_A_PAGE}"
            page = await self._get(path, token, self._groups, accept=_PAGES, most=_MAX_GROUPS_BYTES)
            found |= {group.name: group for group in page.items}
            totals.add(page.pagination.total)
            offset += len(page.items)
            if max(offset, page.pagination.total) > most:
                raise HubSilence(f"more than {most} groups")
            if not page.items or offset >= page.pagination.total:
                break
        # Pages are counted by position: a group that goes meanwhile would hide another one.
        if totals != {len(found)}:
            raise HubSilence("groups that changed while they were read")
        return list(found.values())

    async def redeem(self, form: Mapping[str, str]) -> GrantedToken:
        """Return the token for an authorization code.

        Args:
            form: the fields of the request, the client's secret among them: JupyterHub takes no HTTP Basic.

        Raises:
            HubRefusal: the Hub does not know the code or the client; the message is its error code.
            HubSilence: no answer of a Hub.
        """
        status, body = await self._send("POST", "/oauth2/token", data=form)
        if status in {400, 401, 403}:
            try:
                fault = msgspec.json.decode(body, type=_TokenFault).error
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                fault = ""
            raise HubRefusal(fault if fault in _TOKEN_FAULTS else f"HTTP {status}")
        if status != httpx.codes.OK:
            raise HubSilence(f"HTTP {status}")
        return _decoded(self._granted, body)

    async def _get(
        self,
        path: str,
        token: str,
        decoder: msgspec.json.Decoder[_Answer],
        *,
        accept: str = "*/*",
        most: int = _MAX_ANSWER_BYTES,
    ) -> _Answer:
        headers = {"Authorization": f"token {token}", "Accept": accept}
        status, body = await self._send("GET", path, headers=headers, most=most)
        if status in {401, 403}:
            raise HubRefusal
        if status != httpx.codes.OK:
            raise HubSilence(f"HTTP {status}")
        return _decoded(decoder, body)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
        most: int = _MAX_ANSWER_BYTES,
    ) -> tuple[int, bytes]:
        try:
            answer = await self._http.send(method, f"{self._url}{path}", headers=headers, data=data, most=most)
        except NoAnswer as error:
            raise HubSilence(str(error)) from None
        # Without this header it is a proxy's answer: no proxy says whether a token is right.
        if _VERSION_HEADER not in answer.headers:
            raise HubSilence(f"HTTP {answer.status} without {_VERSION_HEADER}: not a JupyterHub's answer")
        return answer.status, answer.body


def _decoded(decoder: msgspec.json.Decoder[_Answer], body: bytes) -> _Answer:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HubSilence("an answer that cannot be read") from None
