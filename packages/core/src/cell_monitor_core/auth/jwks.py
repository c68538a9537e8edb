"""Public keys fetched from the API's JWKS endpoint, for services that only verify."""

from __future__ import annotations

import asyncio
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cell_monitor_core.auth.signing_keys import SigningKeysError, decode_public_jwks
from cell_monitor_core.repeating_task import RepeatingTask

__all__ = ["RemoteKeys"]

_log = structlog.get_logger(__name__)

_MAX_JWKS_BYTES: Final = 256 * 1024
_RETRY_S: Final = 1.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow no redirect: keys are read from the configured URL only."""


class RemoteKeys:
    """Keys by kid from a URL; refreshed every few minutes, and at once for an unknown kid, but never too often.

    Use it as an async context manager, or call ``refresh`` yourself. Keys are kept while the endpoint is unavailable.
    ``on_error`` is called for each error of a refresh other than an endpoint that does not answer.
    """

    def __init__(
        self,
        url: str,
        *,
        refresh_every: float = 300.0,
        min_interval: float = 10.0,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        on_error: Callable[[], None] | None = None,
    ) -> None:
        if urlsplit(url).scheme not in {"http", "https"}:
            raise ValueError("the JWKS URL must begin with http:// or https://")
        self._url = url
        self._refresh_every = refresh_every
        self._min_interval = min_interval
        self._timeout = timeout
        self._clock = clock
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._last_try: float | None = None
        self._lock = asyncio.Lock()
        self._on_error = on_error
        self._task: RepeatingTask | None = None
        # In-cluster traffic: a proxy of the environment would not know the API.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
        self.generation = 0

    @property
    def ready(self) -> bool:
        """Whether keys have been fetched at least once."""
        return bool(self._keys)

    def get(self, kid: str) -> Ed25519PublicKey | None:
        """Return the key of a kid as of the last refresh."""
        return self._keys.get(kid)

    async def __aenter__(self) -> Self:
        await self.refresh()
        self._task = RepeatingTask(
            "jwks-refresh",
            self._refresh_regularly,
            interval_s=_RETRY_S,
            first_after_s=self._pause(),
            on_error=self._on_error,
        )
        self._task.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            await self._task.aclose()

    def _pause(self) -> float:
        # Without any key nobody gets in, so try again soon.
        return self._refresh_every if self._keys else _RETRY_S

    async def _refresh_regularly(self) -> float:
        await self.refresh(force=not self._keys)
        return self._pause()

    async def refresh(self, *, force: bool = False) -> bool:
        """Fetch the keys, unless that was tried within the last ``min_interval`` seconds; return whether they were fetched."""
        async with self._lock:
            now = self._clock()
            if not force and self._last_try is not None and now - self._last_try < self._min_interval:
                return False
            self._last_try = now
            try:
                keys = _keys_in(await asyncio.to_thread(self._fetch))
            except (OSError, http.client.HTTPException, SigningKeysError) as error:
                _log.warning("jwks_refresh_failed", error=str(error), known_keys=len(self._keys))
                return False
            if {kid: key.public_bytes_raw() for kid, key in keys.items()} != {
                kid: key.public_bytes_raw() for kid, key in self._keys.items()
            }:
                self._keys = keys
                self.generation += 1
                _log.info("jwks_changed", kids=sorted(keys))
            return True

    def _fetch(self) -> bytes:
        with self._opener.open(self._url, timeout=self._timeout) as answer:
            document: bytes = answer.read(_MAX_JWKS_BYTES + 1)
        if len(document) > _MAX_JWKS_BYTES:
            raise SigningKeysError(f"the JWK set has more than {_MAX_JWKS_BYTES} bytes")
        return document


def _keys_in(document: bytes) -> dict[str, Ed25519PublicKey]:
    keys = decode_public_jwks(document)
    if not keys:
        # The API always has one: the set is somebody else's.
        raise SigningKeysError("the JWK set has no key for signatures with Ed25519")
    return keys
