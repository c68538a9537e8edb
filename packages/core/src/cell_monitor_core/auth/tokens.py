"""Access tokens: JWTs signed with EdDSA, at most ten minutes long, for named services.

Verifying a signature costs more than all else that an ingest request needs, so verified claims are kept by token;
expiry is checked every time.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol
from uuid import UUID

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.api_jws import PyJWS

from cell_monitor_core.auth.grants import GRANTS, Grant, allowed_by
from cell_monitor_core.auth.revocations import RevocationList
from cell_monitor_core.auth.roles import Permission, Role, may_in_course
from cell_monitor_core.auth.signing_keys import SigningKeys

__all__ = [
    "DEFAULT_ISSUER",
    "MAX_LIFETIME_S",
    "MAX_TOKEN_BYTES",
    "Claims",
    "KeysSource",
    "TokenExpired",
    "TokenInvalid",
    "TokenIssuer",
    "TokenRevoked",
    "TokenVerifier",
    "UnknownKey",
]

DEFAULT_ISSUER: Final = "cell-monitor"
"""``iss`` of an installation that sets no other."""
MAX_LIFETIME_S: Final = 600
MAX_TOKEN_BYTES: Final = 8192
"""A token must fit a header behind usual proxies and the first frame of the gateway."""
_CLOCK_SKEW_S: Final = 60


class TokenInvalid(Exception):  # noqa: N818 - says what is the matter
    """Not a token of ours for this service. The message is for logs; it holds nothing of the token."""


class TokenExpired(TokenInvalid):
    """The token was right and its time is over: get a new one."""


class TokenRevoked(TokenExpired):
    """The token ended before its time: its person's rights changed, or its credential ended. A new one may be had."""


class UnknownKey(TokenInvalid):
    """The token names a key that is not known here, perhaps not yet."""


class Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a verified token says. A token that lacks one of these is refused: absence never means permission.

    Attributes:
        iss: issuer, the installation that made it.
        sub: person id or, of a service, an id derived from its API key; a UUID.
        aud: services that it is for.
        iat, exp: seconds since the epoch.
        jti: the token's own id.
        grant: how its holder proved who they are; it decides what the token allows at most.
        courses: role by course id, as of ``iat``.
        scopes: of the API key, empty for other grants.
        admin: whether the holder is an admin of the site, as of ``iat``.
        gen: generation of the person's rights that the token states; see ``auth.revocations``.
        cred: name of the credential that it came of, ``session:…``, ``key:…`` or ``join:…``; empty where that is not known.
        server: name of the Jupyter server that sends, empty for a user's default one; None where there is no Hub. It
            allows nothing.
    """

    iss: str
    sub: str
    aud: tuple[str, ...]
    iat: int
    exp: int
    jti: str
    grant: Grant
    courses: dict[str, Role]
    scopes: tuple[str, ...]
    admin: bool
    gen: int = 0
    cred: str = ""
    server: str | None = None

    @property
    def person_id(self) -> UUID:
        """The person's id."""
        return UUID(self.sub)

    @property
    def is_service(self) -> bool:
        """Whether the token was made from an API key that belongs to nobody: its subject is derived, no person's id."""
        return self.person_id.version == 5

    @property
    def administers(self) -> bool:
        """Whether the token allows what only admins of the site may do."""
        return self.admin and self.allows(Permission.ADMINISTER)

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the token's grant and scopes allow, whatever the holder's role."""
        return allowed_by(self.grant, self.scopes)

    def allows(self, permission: Permission) -> bool:
        """Return whether the token's grant and scopes allow something, whatever the holder's role."""
        return permission in self.permissions

    def may(self, course_id: str, permission: Permission) -> bool:
        """Return whether the holder may do something in a course: by the grant, and by role, as admin or as service."""
        return self.allows(permission) and may_in_course(
            self.courses.get(course_id), permission, admin=self.administers, service=self.is_service
        )


class KeysSource(Protocol):
    """Public keys by kid; ``generation`` changes whenever the keys do."""

    @property
    def generation(self) -> int:
        """Number of changes so far."""
        ...

    def get(self, kid: str) -> Ed25519PublicKey | None:
        """Return the key of a kid."""
        ...


class TokenIssuer:
    """Signs tokens with the active key. ``signing_keys`` may be replaced by a newer set."""

    def __init__(
        self,
        signing_keys: SigningKeys,
        *,
        lifetime: int = MAX_LIFETIME_S,
        clock: Callable[[], float] = time.time,
        issuer: str = DEFAULT_ISSUER,
    ) -> None:
        if not 0 < lifetime <= MAX_LIFETIME_S:
            raise ValueError(f"a token lives 1 to {MAX_LIFETIME_S} seconds, not {lifetime}")
        self.signing_keys = signing_keys
        self.lifetime = lifetime
        self._clock = clock
        self._issuer = issuer
        self._jws = PyJWS(algorithms=["EdDSA"])

    def issue(
        self,
        *,
        grant: Grant,
        person_id: UUID | str,
        audience: Sequence[str],
        courses: Mapping[str, str] | None = None,
        scopes: Sequence[str] = (),
        admin: bool = False,
        lifetime: int | None = None,
        server: str | None = None,
        generation: int = 0,
        credential: str = "",
    ) -> tuple[str, int]:
        """Return a new token and the seconds for which it is valid: ``lifetime``, where that is shorter than others'.

        Raises:
            ValueError: the person has more courses than fit a token (about 150), one is no role, or the grant is for other
                audiences.
        """
        if not GRANTS[grant].audiences.issuperset(audience):
            raise ValueError(f"a token of the grant {grant} cannot be for {', '.join(audience)}")
        now = int(self._clock())
        seconds = self.lifetime if lifetime is None else min(lifetime, self.lifetime)
        claims = Claims(
            iss=self._issuer,
            sub=str(person_id),
            aud=tuple(audience),
            iat=now,
            exp=now + seconds,
            jti=secrets.token_urlsafe(16),
            grant=grant,
            courses={course_id: Role(role) for course_id, role in (courses or {}).items()},
            scopes=tuple(scopes),
            admin=admin,
            gen=generation,
            cred=credential,
            server=server,
        )
        token = self._jws.encode(
            msgspec.json.encode(claims),
            self.signing_keys.private_key,
            algorithm="EdDSA",
            headers={"kid": self.signing_keys.active},
        )
        if len(token) > MAX_TOKEN_BYTES:
            raise ValueError(f"{len(courses or {})} courses do not fit a token of {MAX_TOKEN_BYTES} bytes")
        return token, seconds


class TokenVerifier:
    """Verifies tokens for one audience and remembers those that it has verified."""

    def __init__(
        self,
        keys_source: KeysSource,
        audience: str,
        *,
        cache_size: int = 4096,
        clock: Callable[[], float] = time.time,
        revocations: RevocationList | None = None,
        issuer: str = DEFAULT_ISSUER,
    ) -> None:
        self._issuer = issuer
        self.keys_source = keys_source
        self._revocations = revocations if revocations is not None else RevocationList()
        self._revocations_seen = self._revocations.version
        self._audience = audience
        self._cache: OrderedDict[str, Claims] = OrderedDict()
        self._cache_size = cache_size
        self._seen: tuple[KeysSource, int] = (keys_source, keys_source.generation)
        self._epoch = 0
        self._clock = clock
        self._jws = PyJWS(algorithms=["EdDSA"])
        self._decoder = msgspec.json.Decoder(Claims)

    def verify(self, token: str) -> Claims:
        """Return the claims of a valid token.

        Raises:
            TokenRevoked: it ended before its time.
            TokenExpired: its time is over.
            UnknownKey: signed with a key that the source does not have.
            TokenInvalid: anything else.
        """
        self._notice_changes()
        now = self._clock()
        claims = self._cache.get(token)
        if claims is not None:
            if claims.exp <= now:
                del self._cache[token]
                raise TokenExpired("the token has expired")
            self._cache.move_to_end(token)
            return claims
        claims = self._verify(token, now)
        if self._revocations.covers(claims.sub, claims.gen, claims.cred):
            raise TokenRevoked("the token was revoked")
        self._cache[token] = claims
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return claims

    @property
    def epoch(self) -> int:
        """Number that changes with the keys; see ``holds``."""
        self._notice_changes()
        return self._epoch

    def holds(self, claims: Claims, epoch: int) -> bool:
        """Return whether claims that ``verify`` returned in an epoch are still valid, for callers that cache them."""
        seen = self._seen
        if (
            seen[1] != seen[0].generation
            or seen[0] is not self.keys_source
            or self._revocations_seen != self._revocations.version
        ):
            self._notice_changes()
        return epoch == self._epoch and claims.exp > self._clock()

    def _notice_changes(self) -> None:
        source = self.keys_source
        seen = self._seen
        if seen[1] != source.generation or seen[0] is not source:
            # A key may have been withdrawn: what it signed must not live on here.
            self._cache.clear()
            self._epoch += 1
            self._seen = (source, source.generation)
        if self._revocations_seen != self._revocations.version:
            self._revocations_seen = self._revocations.version
            self._epoch += 1
            covers = self._revocations.covers
            for token, claims in list(self._cache.items()):
                if covers(claims.sub, claims.gen, claims.cred):
                    del self._cache[token]

    def _verify(self, token: str, now: float) -> Claims:
        if len(token) > MAX_TOKEN_BYTES:
            raise TokenInvalid("the token is too long")
        try:
            header = self._jws.get_unverified_header(token)
            kid = header.get("kid")
            key = self.keys_source.get(kid) if isinstance(kid, str) else None
            if key is None:
                raise UnknownKey("the token is signed with an unknown key")
            payload = self._jws.decode(token, key, algorithms=["EdDSA"])
            claims = self._decoder.decode(payload)
            UUID(claims.sub)
        except (jwt.PyJWTError, msgspec.DecodeError, ValueError, RecursionError, TypeError) as error:
            raise TokenInvalid(f"not a valid token: {type(error).__name__}") from None
        if claims.iss != self._issuer or self._audience not in claims.aud:
            raise TokenInvalid("the token is not for this service")
        if self._audience not in GRANTS[claims.grant].audiences:
            raise TokenInvalid(f"this service accepts no tokens of the grant {claims.grant}")
        if claims.exp - claims.iat > MAX_LIFETIME_S or claims.iat > now + _CLOCK_SKEW_S:
            raise TokenInvalid("the token's times are wrong")
        if claims.exp <= now:
            raise TokenExpired("the token has expired")
        return claims
