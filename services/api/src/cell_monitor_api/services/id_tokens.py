"""What an id_token of an OpenID Connect provider proves (OpenID Connect Core 1.0, section 3.1.3.7). Pure, but for the clock.

Signatures, times, issuer and audience are PyJWT's work; this says which algorithms and keys count, and binds the token to
the sign-in that asked for it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jwt
from jwt.types import Options

from cell_monitor_core.names import MAX_NAME_CHARS

__all__ = ["IdTokenClaims", "IdTokenInvalid", "IdTokenOutOfTime", "IdTokenRules", "OidcVisitor", "UnknownKeyId"]

IdTokenClaims = Mapping[str, Any]

_ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Asymmetric ones only: with HS256 everybody who knows the client's secret could make tokens, and `none` is no signature."""
_PUBLIC_MEMBERS: Final = ("kty", "n", "e", "crv", "x", "y")
_KEY_TYPES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_LEEWAY_S: Final = 60
"""Between the provider's clock and ours."""
_MAX_TOKEN_CHARS: Final = 64 * 1024
_MAX_KEYS: Final = 100
_MAX_SUBJECT_CHARS: Final = 255
"""Of OpenID Connect Core, section 2."""
_MAX_GROUPS: Final = 2000
_MAX_GROUP_CHARS: Final = 512
_OPTIONS: Final[Options] = {
    "require": ["iss", "sub", "aud", "exp", "iat", "nonce"],
    "enforce_minimum_key_length": True,
}


class IdTokenInvalid(Exception):  # noqa: N818 - named for what is the matter
    """The token proves nothing about this sign-in. The message is for logs and holds nothing of the token."""


class IdTokenOutOfTime(IdTokenInvalid):
    """The token has expired, or is not valid yet: by its own times, or because the two clocks differ."""


class UnknownKeyId(IdTokenInvalid):
    """The token names a key that is not among those given, perhaps not yet."""


@dataclass(frozen=True, slots=True)
class OidcVisitor:
    """Somebody who signed in with a provider.

    Attributes:
        subject: exactly as the provider spells it.
        name: to be shown; None where the token has none that can be shown.
        groups: that the person is in; None where groups do not count.
    """

    subject: str
    name: str | None
    groups: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class IdTokenRules:
    """What id_tokens must say, and what is read from them.

    Attributes:
        issuer: of the provider.
        client_id: of this service at the provider.
        name_claim: claim with the name to be shown.
        groups_claim: claim with the person's groups; None where groups do not count.
    """

    issuer: str
    client_id: str
    name_claim: str
    groups_claim: str | None

    def visitor_of(
        self, token: str, keys: Sequence[Mapping[str, Any]], nonce: str, supported: Iterable[str] | None
    ) -> OidcVisitor:
        """Return who signed in, as a token says that was made for this sign-in.

        Args:
            token: of the provider's answer.
            keys: of the provider (JWK).
            nonce: that the sign-in was begun with.
            supported: algorithms that the provider says it signs with; None if it does not say.

        Raises:
            UnknownKeyId: none of the keys is the one that the token names.
            IdTokenOutOfTime: it has expired, or is not valid yet.
            IdTokenInvalid: it is not the provider's, not for this service, or not of this sign-in.
        """
        if len(token) > _MAX_TOKEN_CHARS:
            raise IdTokenInvalid("the id_token is too long")
        claims = self._verified(token, keys, supported)
        # Of several audiences the token must name the one that it was made for; it may name it in any case.
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if ("azp" in claims or several) and claims.get("azp") != self.client_id:
            raise IdTokenInvalid("the id_token was made for another client (azp)")
        said = claims["nonce"]
        if not isinstance(said, str) or not hmac.compare_digest(said.encode(errors="replace"), nonce.encode()):
            raise IdTokenInvalid("the id_token is of another sign-in (nonce)")
        subject = _text(claims["sub"], _MAX_SUBJECT_CHARS)
        if subject is None:
            raise IdTokenInvalid("the id_token's subject cannot be stored")
        return OidcVisitor(subject, self._name(claims), self._groups(claims))

    def _verified(
        self, token: str, keys: Sequence[Mapping[str, Any]], supported: Iterable[str] | None
    ) -> IdTokenClaims:
        try:
            header = jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            if algorithm not in _ALGORITHMS or (supported is not None and algorithm not in supported):
                raise IdTokenInvalid("the id_token is signed with an algorithm that does not count")
            key = _key(keys, header.get("kid"), algorithm)
            return jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self.client_id,
                issuer=self.issuer,
                leeway=_LEEWAY_S,
                options=_OPTIONS,
            )
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError) as error:
            raise IdTokenOutOfTime(f"the id_token is out of time: {type(error).__name__}") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise IdTokenInvalid(f"the id_token cannot be verified: {type(error).__name__}") from None

    def _name(self, claims: IdTokenClaims) -> str | None:
        name = claims.get(self.name_claim)
        if not isinstance(name, str):
            return None
        return _text("".join(c for c in name if c.isprintable()).strip()[:MAX_NAME_CHARS], MAX_NAME_CHARS)

    def _groups(self, claims: IdTokenClaims) -> tuple[str, ...] | None:
        if self.groups_claim is None:
            return None
        said = claims.get(self.groups_claim)
        listed = said if isinstance(said, list) else [said]
        return tuple(group for one in listed[:_MAX_GROUPS] if (group := _text(one, _MAX_GROUP_CHARS)) is not None)


def _key(keys: Sequence[Mapping[str, Any]], kid: Any, algorithm: str) -> jwt.PyJWK:
    """Return the key that signed a token: the one of that id or, where the token names none, the only one that fits."""
    fitting = [
        key
        for key in keys[:_MAX_KEYS]
        if key.get("kty") == _KEY_TYPES[algorithm[:2]]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (kid is None or key.get("kid") == kid)
    ]
    if not fitting:
        raise UnknownKeyId("the id_token names a key that the provider does not publish")
    if len(fitting) > 1:
        raise IdTokenInvalid("the id_token may be signed with one of several keys")
    # A provider that publishes a private key by mistake: it is not kept here.
    return jwt.PyJWK({name: fitting[0][name] for name in _PUBLIC_MEMBERS if name in fitting[0]}, algorithm)


def _text(value: Any, most: int) -> str | None:
    """Return a text that can be stored, None for what is none: empty, too long, of NUL or of halves of characters."""
    if not isinstance(value, str) or not 0 < len(value) <= most or "\x00" in value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value
