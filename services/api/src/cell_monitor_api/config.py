"""Settings of the API: core's, and these. All are environment variables ``CELL_MONITOR_<NAME>``."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import ClassVar, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from cell_monitor_api.addresses import is_loopback
from cell_monitor_api.cookies import CookieScope
from cell_monitor_api.oidc_config import OidcSettings, check_group_pattern
from cell_monitor_core.administration.course_settings import GroupIssuer
from cell_monitor_core.auth.roles import Role
from cell_monitor_core.auth.signing_keys import SigningKeys, SigningKeysError
from cell_monitor_core.crypto import check_keys
from cell_monitor_core.settings import ENV_PREFIX, HttpAddress, SettingsError, missing_secret
from cell_monitor_core.storage.postgres import identities, joined_computers
from cell_monitor_core.store_urls import check_http_url

__all__ = ["ApiSettings"]

_WHEEL: Final = re.compile(r"[A-Za-z0-9_.+]+(-[A-Za-z0-9_.+]+){4,5}\.whl")


class ApiSettings(OidcSettings):
    """What the API reads from its environment."""

    service: ClassVar[str] = "api"

    api_host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; `0.0.0.0` in a container.")
    api_port: int = Field(8900, ge=0, le=65535, description="Port of the pages and the query API.")
    api_ingest_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port, at the same address, that takes events and exchanges tokens and serves nothing else: for "
        "students' servers. No forwarded header is believed there.",
    )
    api_ingest_on_pages: bool | None = Field(
        None,
        description="Whether the pages' port takes events, too; without a value only where ingest has no port of its own, or "
        "no JupyterHub proves who sends.",
    )
    api_inside_host: str = Field("127.0.0.1", min_length=1, description="Address of `CELL_MONITOR_API_INSIDE_PORT`.")
    api_inside_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port of probes and metrics, which the other ports then do not serve; without it the pages' port does.",
    )
    api_workers: int = Field(1, ge=1, le=64, description="Worker processes; one for each core given to the API.")
    api_forwarded_allow_ips: str = Field(
        "",
        max_length=2000,
        description="Comma-separated addresses or networks of the proxies whose `X-Forwarded-For` and "
        "`X-Forwarded-Proto` are believed; without a value nobody's are, not even those of this machine. Any client that can "
        "connect from there can evade the limits on sign-in, so name the proxies and nothing else.",
    )
    api_database_connections: int = Field(8, ge=1, le=100, description="PostgreSQL connections of one worker process.")
    api_bucket_events: int = Field(
        2000, ge=200, le=1_000_000, description="Events that one person may send at once, in one worker process."
    )
    api_bucket_refill_per_s: float = Field(
        100.0, gt=0, le=100_000, description="Events per second that one person may send continuously."
    )
    api_token_lifetime_s: int = Field(600, ge=5, le=600, description="Life of an access token, at most 10 minutes.")
    api_sign_in_days: float = Field(
        14.0, gt=0, le=90, description="Days after which a person who stayed signed in must sign in again."
    )
    api_sign_in_idle_hours: float = Field(
        12.0,
        ge=0.5,
        le=2160,
        description="Hours after which a sign-in ends that no page has used, give or take five minutes; an open page uses it "
        "every few minutes.",
    )
    api_sign_in_window_s: int = Field(300, ge=1, le=86_400, description="Window of the limits on failed sign-ins.")
    api_sign_in_per_account: int = Field(
        10,
        ge=1,
        le=10_000,
        description="Failed sign-ins on one account a window, from one address or with one browser in which its person "
        "signed in before.",
    )
    api_sign_in_per_account_hour: int = Field(
        100,
        ge=1,
        le=100_000,
        description="Failed sign-ins on one account an hour, from all addresses; browsers in which its person signed in "
        "before are not counted and not refused.",
    )
    api_sign_in_per_address: int = Field(
        100,
        ge=1,
        le=100_000,
        description="Failed sign-ins from one address a window, on all accounts; of IPv6 from one /64 network. A whole "
        "campus may share one: browsers in which the person signed in before are not counted and not refused.",
    )
    api_device_days: float = Field(
        180.0,
        gt=0,
        le=400,
        description="Days for which a browser is known as one in which its person signed in before.",
    )
    api_join_per_address: int = Field(
        200,
        ge=1,
        le=100_000,
        description="Wrong join codes from one address a window of the sign-in limits, for each code that is open and for all that are none.",
    )
    api_join_per_code: int = Field(
        600, ge=1, le=100_000, description="Wrong join codes a window that begin as one course's code does."
    )
    api_join_people: int = Field(300, ge=1, le=100_000, description="People who may join by one code.")
    api_extension_wheel: Path | None = Field(
        None, description="Wheel of the JupyterLab extension, served at `/extension/` for students who join by code."
    )
    dashboard_dir: Path | None = Field(
        None, description="The dashboard's build, served at `/`; without it the API serves no pages."
    )
    gateway_url: str = Field(
        "/ws",
        max_length=500,
        description="Where browsers reach the gateway: `ws(s)://host/ws`, or a path on this origin.",
    )
    signing_keys: SecretStr | None = Field(
        None,
        description="Private JWK set, or Ed25519 keys as PEM of which the first signs. Changes of the file are noticed.",
    )
    api_hub_url: HttpAddress | None = Field(
        None,
        max_length=500,
        description="JupyterHub's API as the API reaches it, such as `http://hub:8081/hub/api`; without it no Hub proves "
        "who sends.",
    )
    api_hub_issuer: str = Field(
        identities.HUB,
        pattern=r"^[a-z0-9][a-z0-9:/._-]{0,99}$",
        description="Name of the Hub among the issuers of identities. With another name its users become other people.",
    )
    api_hub_send_scope: str = Field(
        "custom:cell-monitor:send",
        pattern=r"^(custom:[a-z0-9][a-z0-9_*:-]*[a-z0-9]|access:services!service=[^\s]+)$",
        max_length=200,
        description="Scope that the token of a student's server must carry.",
    )
    api_hub_recheck_s: int = Field(
        60, ge=10, le=600, description="Seconds after which the Hub must be asked again about a token that it gave."
    )
    api_hub_group_pattern: str | None = Field(
        None,
        max_length=500,
        description="Regular expression for the whole name of a Hub's group, with the groups `course` and `role`, such as "
        "`course-(?P<course>.+)-(?P<role>instructors|students)`. Other groups give nothing.",
    )
    api_hub_roles: dict[str, Role] = Field(
        {},
        description="JSON object: what the pattern's `role` may say beside the roles and their plurals, and the role that "
        'it means, such as `{"teacher": "instructor", "ta": "assistant"}`.',
    )
    api_hub_admins: bool = Field(
        False,
        description="Whether admins of JupyterHub who sign in here are admins of the site, as long as they are at the Hub.",
    )
    public_url: str | None = Field(
        None,
        max_length=300,
        description="Where browsers reach the dashboard, such as `https://monitor.example.org`. It decides how cookies are "
        "named and where they are sent to; sign-in with JupyterHub or OpenID Connect needs it, which send browsers back to it.",
    )
    api_hub_public_url: HttpAddress | None = Field(
        None,
        max_length=500,
        description="JupyterHub's API as browsers reach it, such as `https://jupyter.example.org/hub/api`; with it and "
        "`CELL_MONITOR_API_HUB_TOKEN` people can sign in with JupyterHub.",
    )
    api_hub_token: SecretStr | None = Field(
        None, description="The token (`api_token`) of this service at JupyterHub, its secret as an OAuth client."
    )
    api_hub_service: str = Field(
        "cell-monitor",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$",
        description="Name of this service at JupyterHub; its OAuth client is `service-` and this name.",
    )
    api_hub_session_check_s: int = Field(
        50,
        ge=5,
        le=57,
        description="Seconds after which JupyterHub is asked again, at the latest, whether a person whose page is open is "
        "still signed in there and in which groups they are.",
    )
    api_hub_session_grace_s: int = Field(
        900,
        ge=0,
        le=86_400,
        description="Seconds for which a sign-in with JupyterHub lasts while the Hub does not answer.",
    )
    api_hub_roster_s: int = Field(
        60,
        ge=0,
        le=86_400,
        description="Seconds after which the members of courses are read again from JupyterHub's groups, at the latest, with "
        "`CELL_MONITOR_API_HUB_TOKEN`; 0: they are known once they sign in or send.",
    )
    api_act_as_keys: bool | None = Field(
        None,
        description="Whether API keys with `people:act_as` get tokens of other people; without a value only where no "
        "JupyterHub proves who sends.",
    )
    test_mode: bool = Field(False, description="Opens `/api/v1/test/events/{test_id}`.")

    def check_keys(self) -> None:
        """Check the keys that are set, those that sign as well.

        Raises:
            SettingsError: one is malformed.
        """
        check_keys(self)
        assert self.signing_keys is not None  # see _check_needed
        try:
            SigningKeys.load(self.signing_keys_path or self.signing_keys.get_secret_value())
        except SigningKeysError as error:
            raise SettingsError(f"{ENV_PREFIX}SIGNING_KEYS: {error}") from None

    @property
    def takes_events_on_pages(self) -> bool:
        """Whether the pages' port takes events."""
        if self.api_ingest_on_pages is None:
            return self.api_ingest_port is None or self.api_hub_url is None
        return self.api_ingest_on_pages

    @property
    def bind(self) -> list[str]:
        """The addresses to listen on, ``host:port``."""
        others = ((self.api_host, self.api_ingest_port), (self.api_inside_host, self.api_inside_port))
        return [f"{self.api_host}:{self.api_port}", *(f"{host}:{port}" for host, port in others if port is not None)]

    @property
    def group_issuers(self) -> list[GroupIssuer]:
        """The issuers configured here whose groups may give roles in courses."""
        issuers = [] if self.api_hub_url is None else [GroupIssuer(self.api_hub_issuer)]
        # A provider's groups are not read without their claim.
        if self.api_oidc_issuer is not None and self.api_oidc_groups_claim is not None:
            issuers.append(GroupIssuer(self.api_oidc_issuer, staff_only=True))
        return issuers

    @property
    def student_issuer(self) -> str | None:
        """The issuer of students beside this installation: the Hub's, None without a Hub."""
        return None if self.api_hub_url is None else self.api_hub_issuer

    @property
    def allows_act_as(self) -> bool:
        """Whether API keys may get tokens of other people."""
        return self.api_hub_url is None if self.api_act_as_keys is None else self.api_act_as_keys

    @property
    def dashboard_url(self) -> str:
        """Where browsers reach the dashboard, with a slash at its end.

        Raises:
            ValueError: it is not configured.
        """
        if self.public_url is None:
            raise ValueError(f"{ENV_PREFIX}PUBLIC_URL is not set")
        return f"{self.public_url.rstrip('/')}/"

    @property
    def cookies(self) -> CookieScope:
        """How cookies for the dashboard are named and where they are sent to."""
        return CookieScope.of(self.public_url)

    @property
    def signing_keys_path(self) -> Path | None:
        """The file that the signing keys come from, if they come from one: it is watched for changes."""
        path = os.environ.get(f"{ENV_PREFIX}SIGNING_KEYS_FILE")
        return Path(path) if path else None

    @field_validator("gateway_url")
    @classmethod
    def _check_gateway_url(cls, value: str) -> str:
        if not value.startswith(("ws://", "wss://", "http://", "https://", "/")) or any(c in value for c in " ;,\"'\n"):
            raise ValueError("must begin with ws://, wss://, http://, https:// or /")
        return value

    @field_validator("api_forwarded_allow_ips")
    @classmethod
    def _check_forwarded_allow_ips(cls, value: str) -> str:
        for part in _parts(value):
            try:
                network = ipaddress.ip_network(part)
            except ValueError:
                raise ValueError(
                    f"must name addresses or networks, such as 10.0.3.7 or 10.0.3.0/28, not {part!r}"
                ) from None
            if network.prefixlen == 0:
                raise ValueError("must name the proxies: every address may be anybody's")
        return value

    @property
    def proxies(self) -> list[str]:
        """The addresses and networks whose forwarded headers are believed."""
        return _parts(self.api_forwarded_allow_ips)

    @field_validator("api_extension_wheel")
    @classmethod
    def _check_extension_wheel(cls, value: Path | None) -> Path | None:
        # pip reads from the name what is in a wheel.
        if value is not None and not (value.is_file() and _WHEEL.fullmatch(value.name)):
            raise ValueError("is no wheel: `make install` builds it")
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        check_http_url(value)
        parts = urlsplit(value)
        if parts.query or parts.fragment or "@" in value:
            raise ValueError("must be http(s)://host[:port][/path], without user, query and fragment")
        return value

    @field_validator("api_hub_issuer")
    @classmethod
    def _check_hub_issuer(cls, value: str) -> str:
        if value in {identities.LOCAL, joined_computers.ISSUER}:
            raise ValueError(f"must not be {value}: its users would be those of this installation")
        return value

    @field_validator("api_hub_group_pattern")
    @classmethod
    def _check_hub_group_pattern(cls, value: str | None) -> str | None:
        return check_group_pattern(value)

    @model_validator(mode="after")
    def _check_ports(self) -> Self:
        ports = [port for port in (self.api_port, self.api_ingest_port, self.api_inside_port) if port is not None]
        if len(set(ports)) < len(ports):
            raise ValueError(f"{ENV_PREFIX}API_PORT, _API_INGEST_PORT and _API_INSIDE_PORT must differ")
        if not self.takes_events_on_pages and self.api_ingest_port is None:
            raise ValueError(f"without {ENV_PREFIX}API_INGEST_PORT only the pages' port can take events")
        return self

    @model_validator(mode="after")
    def _check_hub_sign_in(self) -> Self:
        if self.api_hub_public_url is None:
            return self
        for name in ("public_url", "api_hub_url", "api_hub_token"):
            if getattr(self, name) is None:
                raise ValueError(
                    f"sign-in with JupyterHub ({ENV_PREFIX}API_HUB_PUBLIC_URL) needs {ENV_PREFIX}{name.upper()}, too"
                )
        self._require_private_codes("JupyterHub")
        return self

    @model_validator(mode="after")
    def _check_oidc_sign_in(self) -> Self:
        if self.api_oidc_issuer is None:
            return self
        for name in ("public_url", "api_oidc_client_id", "api_oidc_client_secret"):
            if getattr(self, name) is None:
                raise ValueError(
                    f"sign-in with OpenID Connect ({ENV_PREFIX}API_OIDC_ISSUER) needs {ENV_PREFIX}{name.upper()}, too"
                )
        if self.api_oidc_issuer == self.api_hub_issuer:
            raise ValueError(f"{ENV_PREFIX}API_OIDC_ISSUER and {ENV_PREFIX}API_HUB_ISSUER must differ")
        self._require_private_codes("OpenID Connect")
        return self

    def _require_private_codes(self, way: str) -> None:
        parts = urlsplit(self.public_url or "")
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise ValueError(
                f"sign-in with {way} needs https in {ENV_PREFIX}PUBLIC_URL: over plain http anybody in the network "
                "could read the code that signs a person in. Only an address of this machine itself may be http"
            )

    @model_validator(mode="after")
    def _check_needed(self) -> Self:
        for name in ("database_url", "encryption_keys", "index_key", "signing_keys"):
            if getattr(self, name) is None:
                raise ValueError(missing_secret(f"{ENV_PREFIX}{name.upper()}"))
        return self


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]
