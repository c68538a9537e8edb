"""An OpenID Connect provider: its metadata, its keys, and the tokens that it gives for codes.

See OpenID Connect Discovery 1.0, section 4, for the metadata; RFC 7517, section 5, for the keys; OpenID Connect Core 1.0,
section 3.1.3, for the exchange of a code.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote_plus, urlsplit

import msgspec

from cell_monitor_api.storage.bounded_http import BoundedHttp, HttpAnswer, NoAnswer
from cell_monitor_api.storage.remote_document import RemoteDocument
from cell_monitor_core.telemetry.metrics import OIDC_REQUESTS

__all__ = ["OidcProvider", "ProviderMetadata", "ProviderRefusal", "ProviderSilence"]

_MAX_METADATA_BYTES: Final = 128 * 1024
_MAX_KEYS_BYTES: Final = 256 * 1024
_MAX_TOKEN_BYTES: Final = 128 * 1024
_TOTAL_S: Final = 10.0
_URL_CHARACTERS: Final = re.compile(r"[\x21-\x7e]+")
_DEFAULT_AUTH: Final = "client_secret_basic"
_AUTH_METHODS: Final = (_DEFAULT_AUTH, "client_secret_post")
_TOKEN_FAULTS: Final = frozenset(
    {
        "invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "unauthorized_client",
        "unsupported_grant_type",
    }
)  # fmt: skip
"""Error codes of RFC 6749, section 5.2, that may be logged as they are."""
_Answer = TypeVar("_Answer")


class ProviderRefusal(Exception):  # noqa: N818 - named for what is the matter
    """The provider does not know the code or this client; the message is its error code."""


class ProviderSilence(Exception):  # noqa: N818 - named for what is the matter
    """The provider did not answer, or not as a provider does. The message is for logs and holds no secret."""


class ProviderMetadata(msgspec.Struct, frozen=True):
    """What a provider says of itself, as far as it matters here; see OpenID Connect Discovery 1.0, section 3."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = (_DEFAULT_AUTH,)
    id_token_signing_alg_values_supported: tuple[str, ...] | None = None
    claims_parameter_supported: bool = False
    authorization_response_iss_parameter_supported: bool = False


class _Keys(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str


class _TokenFault(msgspec.Struct, frozen=True):
    error: str = ""


class OidcProvider:
    """Asks one provider. Nothing is asked before somebody signs in: the provider need not be up when the API starts.

    Args:
        issuer: the provider's issuer identifier, exactly.
        client_id: of this service at the provider.
        secret: of this client.
        auth_method: ``client_secret_basic`` or ``client_secret_post``; None for what the metadata say, basic if both.
        clock: seconds from any moment on.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        secret: str,
        *,
        auth_method: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self._client_id = client_id
        self._secret = secret
        self._auth_method = auth_method
        self._http = BoundedHttp(total_s=_TOTAL_S)
        self._metadata = RemoteDocument(self._read_metadata, ProviderSilence, clock)
        self._keys = RemoteDocument(self._read_keys, ProviderSilence, clock)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def metadata(self) -> ProviderMetadata:
        """Return what the provider says of itself, at most an hour old, or a day while it does not answer.

        Raises:
            ProviderSilence: it does not answer, or names another issuer.
        """
        return await self._metadata.get()

    async def keys(self, *, again: bool = False) -> list[dict[str, Any]]:
        """Return the provider's public keys (JWK), as old as the metadata may be.

        Args:
            again: whether a key was missing: the keys are then read again, unless that was done a moment ago.

        Raises:
            ProviderSilence: it does not answer.
        """
        return await self._keys.get(again=again)

    async def redeem(self, code: str, redirect_uri: str, verifier: str) -> str:
        """Return the id_token for an authorization code.

        Raises:
            ProviderRefusal: the provider does not know the code or this client.
            ProviderSilence: no answer of a provider.
        """
        metadata = await self.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        headers = {"Accept": "application/json"}
        if self._method(metadata) == "client_secret_post":
            form |= {"client_id": self._client_id, "client_secret": self._secret}
        else:
            # RFC 6749, section 2.3.1: both are form-encoded first.
            pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        answer = await self._send("token", "POST", metadata.token_endpoint, _MAX_TOKEN_BYTES, headers, form)
        if answer.status in {400, 401, 403}:
            OIDC_REQUESTS.labels("token", "refused").inc()
            raise ProviderRefusal(_fault(answer))
        return self._decoded("token", answer, _Tokens).id_token

    def _method(self, metadata: ProviderMetadata) -> str:
        if self._auth_method is not None:
            return self._auth_method
        supported = metadata.token_endpoint_auth_methods_supported
        method = next((method for method in _AUTH_METHODS if method in supported), None)
        if method is None:
            raise ProviderSilence(f"the provider takes no client secret: {supported[:10]}")
        return method

    async def _read_metadata(self) -> ProviderMetadata:
        # Section 4: a slash at the end of the issuer is left out before this is appended.
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        answer = await self._send("metadata", "GET", url, _MAX_METADATA_BYTES, {"Accept": "application/json"})
        metadata = self._decoded("metadata", answer, ProviderMetadata)
        if metadata.issuer != self.issuer:
            # Section 4.3: otherwise one provider could speak for another.
            raise ProviderSilence(f"the provider calls itself {metadata.issuer[:200]!r} and not {self.issuer!r}")
        for endpoint in (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri):
            self._check_endpoint(endpoint)
        return metadata

    def _check_endpoint(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            fits = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc and not parts.fragment
            # It becomes a header of our answer.
            fits = fits and _URL_CHARACTERS.fullmatch(url) is not None
        except ValueError:
            fits = False
        # The settings allow plain http for a provider on this machine only.
        if not fits or parts.scheme not in {"https", urlsplit(self.issuer).scheme}:
            raise ProviderSilence(f"the provider names an address that cannot be used: {url[:200]!r}")

    async def _read_keys(self) -> list[dict[str, Any]]:
        metadata = await self.metadata()
        answer = await self._send("keys", "GET", metadata.jwks_uri, _MAX_KEYS_BYTES, {"Accept": "application/json"})
        return self._decoded("keys", answer, _Keys).keys

    async def _send(
        self,
        what: str,
        method: str,
        url: str,
        most: int,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None = None,
    ) -> HttpAnswer:
        try:
            return await self._http.send(method, url, most=most, headers=headers, data=form)
        except NoAnswer as error:
            OIDC_REQUESTS.labels(what, "unavailable").inc()
            raise ProviderSilence(f"{what}: {error}") from None

    @staticmethod
    def _decoded(what: str, answer: HttpAnswer, kind: type[_Answer]) -> _Answer:
        try:
            if answer.status != 200:
                raise ProviderSilence(f"{what}: HTTP {answer.status}")
            decoded = msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ProviderSilence) as error:
            OIDC_REQUESTS.labels(what, "unavailable").inc()
            if isinstance(error, ProviderSilence):
                raise
            raise ProviderSilence(f"{what}: an answer that cannot be read") from None
        OIDC_REQUESTS.labels(what, "ok").inc()
        return decoded


def _fault(answer: HttpAnswer) -> str:
    try:
        fault = msgspec.json.decode(answer.body, type=_TokenFault).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fault = ""
    return fault if fault in _TOKEN_FAULTS else f"HTTP {answer.status}"
