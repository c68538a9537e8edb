"""Requests to servers of other people: their answers are bounded in bytes and in time, and redirects are not followed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

__all__ = ["BoundedHttp", "HttpAnswer", "NoAnswer"]

_TIMEOUT: Final = httpx.Timeout(5.0, connect=2.0)


class NoAnswer(Exception):  # noqa: N818 - named for what is the matter
    """The server did not answer, too slowly, or with too much. The message is for logs and holds no secret."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status, headers and whole body of an answer."""

    status: int
    headers: httpx.Headers
    body: bytes


class BoundedHttp:
    """Sends requests to one server.

    Args:
        total_s: seconds for a request with its answer: a body that comes byte by byte keeps within the other timeouts.
    """

    def __init__(self, *, total_s: float = 30.0) -> None:
        self._total_s = total_s
        # Inside a cluster: a proxy of the environment would not know the server, and a redirect leads elsewhere.
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, follow_redirects=False)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(
        self,
        method: str,
        url: str,
        *,
        most: int,
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
    ) -> HttpAnswer:
        """Return the answer to a request.

        Args:
            method: of the request.
            url: absolute.
            most: bytes of the body, decompressed.
            headers: of the request.
            data: fields of a form.

        Raises:
            NoAnswer: there is none within the bounds.
        """
        try:
            async with asyncio.timeout(self._total_s):
                request = self._client.build_request(method, url, headers=headers, data=data)
                response = await self._client.send(request, stream=True)
                try:
                    return HttpAnswer(response.status_code, response.headers, await _body(response, most))
                finally:
                    await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswer(type(error).__name__) from None
        except TimeoutError:
            raise NoAnswer(f"an answer that takes more than {self._total_s:g} s") from None


async def _body(response: httpx.Response, most: int) -> bytes:
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > most:
            raise NoAnswer(f"an answer of more than {most} bytes")
    return bytes(body)
