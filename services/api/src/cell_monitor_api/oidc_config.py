"""Settings of the sign-in with an OpenID Connect provider; a part of ``ApiSettings``."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from cell_monitor_api.addresses import is_loopback
from cell_monitor_core.auth.roles import Role
from cell_monitor_core.names import NAME_PATTERN
from cell_monitor_core.settings import CoreSettings

__all__ = ["OidcSettings", "check_group_pattern"]


def check_group_pattern(value: str | None) -> str | None:
    """Return a pattern for the names of groups, if it is one.

    Raises:
        ValueError: it is no regular expression, or lacks one of the groups ``course`` and ``role``.
    """
    try:
        groups = {} if value is None else re.compile(value).groupindex
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    if value is not None and not {"course", "role"} <= groups.keys():
        raise ValueError("needs the groups (?P<course>…) and (?P<role>…)")
    return value


class OidcSettings(CoreSettings):
    """What the API reads from its environment about the provider."""

    api_oidc_issuer: str | None = Field(
        None,
        max_length=300,
        description="Issuer of an OpenID Connect provider, exactly as it names itself, such as `https://login.example.org`; with it, "
        "`CELL_MONITOR_API_OIDC_CLIENT_ID` and `_CLIENT_SECRET` people can sign in there. With another issuer they become other "
        "people.",
    )
    api_oidc_client_id: str | None = Field(
        None, min_length=1, max_length=500, description="This service's client id at the provider."
    )
    api_oidc_client_secret: SecretStr | None = Field(None, description="The client's secret.")
    api_oidc_client_auth: Literal["client_secret_basic", "client_secret_post"] | None = Field(
        None,
        description="How the secret is sent: in the header or in the form; without a value as the provider's metadata say, in the "
        "header if it takes both.",
    )
    api_oidc_label: str | None = Field(
        None,
        min_length=1,
        max_length=60,
        pattern=NAME_PATTERN,
        description='The provider\'s name on the button, such as `Example University`: "Sign in with Example University"; without a '
        "value the button names the organisation's account.",
    )
    api_oidc_scope: str = Field(
        "openid profile",
        pattern=r"^([\x21\x23-\x5b\x5d-\x7e]+ )*openid( [\x21\x23-\x5b\x5d-\x7e]+)*$",
        max_length=500,
        description="Scopes that are asked for, `openid` among them.",
    )
    api_oidc_name_claim: str = Field(
        "name", min_length=1, max_length=200, description="Claim of the id_token with the name that is shown."
    )
    api_oidc_groups_claim: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Claim of the id_token with the person's groups, a list of texts; without it groups give nothing.",
    )
    api_oidc_group_pattern: str | None = Field(
        None,
        max_length=500,
        description="Regular expression for the whole name of a group, as `CELL_MONITOR_API_HUB_GROUP_PATTERN`. Groups give the roles of "
        "staff only.",
    )
    api_oidc_roles: dict[str, Role] = Field(
        {}, description="JSON object: what the pattern's `role` may say, as `CELL_MONITOR_API_HUB_ROLES`."
    )
    api_oidc_session_hours: float = Field(
        12.0,
        gt=0,
        le=2160,
        description="Hours after which a person who signed in with the provider must do so again, at most "
        "`CELL_MONITOR_API_SIGN_IN_DAYS`. The provider is not asked before: who was removed there stays signed in for so long.",
    )

    @field_validator("api_oidc_issuer")
    @classmethod
    def _check_oidc_issuer(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if (
            not parts.hostname
            or parts.query
            or parts.fragment
            or "@" in value
            or not re.fullmatch(r"[\x21-\x7e]+", value)
        ):
            raise ValueError("must be https://host[:port][/path], without user, query and fragment")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
            raise ValueError("must begin with https://: only a provider on this machine itself may be http")
        return value

    @field_validator("api_oidc_group_pattern")
    @classmethod
    def _check_oidc_group_pattern(cls, value: str | None) -> str | None:
        return check_group_pattern(value)
