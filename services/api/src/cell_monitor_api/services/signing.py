"""The keys that sign access tokens, kept up to date with their file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cell_monitor_core.auth.signing_keys import SigningKeys, SigningKeysError
from cell_monitor_core.auth.tokens import TokenIssuer
from cell_monitor_core.telemetry.background_tasks import background_task

__all__ = ["Signing", "courses_that_fit"]

_log = structlog.get_logger(__name__)

_MIN_INTERVAL_S: Final = 1.0
_MAX_COURSE_BYTES: Final = 5000
"""Of a token's 8 KiB so much, before base64, is for its courses."""


def courses_that_fit(roles: Mapping[str, str]) -> dict[str, str]:
    """Return the memberships that fit into a token; those of staff come first.

    Somebody with more than some hundred courses still reaches all of them in the query API, which asks the database.
    """
    fitting: dict[str, str] = {}
    size = 0
    for course_id, role in sorted(roles.items(), key=lambda item: (item[1] == "student", item[0])):
        size += len(course_id) + len(role) + 6
        if size > _MAX_COURSE_BYTES:
            _log.warning("token_courses_cut", courses=len(roles), kept=len(fitting))
            break
        fitting[course_id] = role
    return fitting


class Signing:
    """Signs, and is the source of keys to verify with.

    A file of keys is read again when it changes, every few seconds at the latest, and at once when a token names a key
    that is not known: another process of the API may have seen the change before this one.

    Args:
        source: the JSON itself, used where there is no path.
        path: file of the keys.
        lifetime_s: life of the tokens.
        issuer: who they say made them.
        interval_s: seconds between looks at the file.
        clock: seconds, monotonic.

    Raises:
        SigningKeysError: the keys cannot be read.
    """

    def __init__(
        self,
        source: str,
        path: Path | None,
        *,
        lifetime_s: int,
        issuer: str,
        interval_s: float = 5.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._path = path
        self._watch = background_task("signing-keys", self._look, interval_s=interval_s, first_after_s=interval_s)
        self._clock = clock
        self._stamp = self._stamp_of_file()
        self._keys = SigningKeys.load(path or source)
        self._looked_at = clock()
        self.generation = 0
        self.issuer = TokenIssuer(self._keys, lifetime=lifetime_s, issuer=issuer)

    def get(self, kid: str) -> Ed25519PublicKey | None:
        """Return the public key of a kid."""
        key = self._keys.get(kid)
        if key is None and self._path is not None and self._clock() - self._looked_at >= _MIN_INTERVAL_S:
            self.reload()
            key = self._keys.get(kid)
        return key

    def public_jwks(self) -> bytes:
        """Return the public JWK set as JSON."""
        return msgspec.json.encode(self._keys.public_jwks())

    def reload(self) -> bool:
        """Read the file again where it changed; keys that cannot be read leave the old ones in force."""
        self._looked_at = self._clock()
        stamp = self._stamp_of_file()
        if self._path is None or stamp == self._stamp:
            return False
        try:
            keys = SigningKeys.load(self._path)
        except SigningKeysError as error:
            _log.error("signing_keys_unreadable", reason=str(error))
            return False
        self._stamp = stamp
        self._keys = keys
        self.generation += 1
        self.issuer.signing_keys = keys
        _log.info("signing_keys_changed", active=keys.active)
        return True

    def start(self) -> None:
        """Look at the file from time to time."""
        if self._path is not None:
            self._watch.start()

    async def aclose(self) -> None:
        """Look no more."""
        await self._watch.aclose()

    async def _look(self) -> None:
        self.reload()

    def _stamp_of_file(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            # Followed: Kubernetes changes a mounted secret by turning a symbolic link.
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
