"""Bodies of the sign-in routes."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from cell_monitor_core.auth.password_policy import MAX_NEW_PASSWORD_CHARS
from cell_monitor_core.auth.passwords import MAX_PASSWORD_LENGTH
from cell_monitor_core.names import MAX_USERNAME_CHARS, USERNAME_PATTERN

__all__ = [
    "ExchangedToken",
    "JoinedAs",
    "LinkLogin",
    "Login",
    "Me",
    "MyCourse",
    "NewPassword",
    "PasswordChange",
    "PasswordState",
    "SignInWay",
    "TokenAnswer",
    "TokenRequest",
    "Username",
]

Username = Annotated[str, Field(min_length=1, max_length=MAX_USERNAME_CHARS, pattern=USERNAME_PATTERN)]


class Login(BaseModel):
    """A local account's credentials."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    username: Username
    password: Annotated[SecretStr, Field(min_length=1, max_length=MAX_PASSWORD_LENGTH)]


class LinkLogin(BaseModel):
    """The secret part of a link that signs in once."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    link: Annotated[SecretStr, Field(min_length=1, max_length=200)]


class NewPassword(BaseModel):
    """The password that a person chooses, and the present one where that is needed."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    new: Annotated[SecretStr, Field(min_length=1, max_length=4 * MAX_NEW_PASSWORD_CHARS)]
    present: Annotated[SecretStr, Field(max_length=MAX_PASSWORD_LENGTH)] | None = None


PasswordChange: TypeAlias = Literal["present_password", "link", "link_needed", "elsewhere", "installation"]


class PasswordState(msgspec.Struct, frozen=True):
    """What a person can do about their password.

    Attributes:
        has_password: whether there is one.
        change: `present_password`: with the present one; `link`: without it, since the sign-in began with a link a short
            time ago; `link_needed`: after a sign-in with a new link; `elsewhere`: they sign in through another service;
            `installation`: the installation keeps it in its secrets.
        min_chars: the fewest characters of a new one.
        max_chars: the most.
    """

    has_password: bool
    change: PasswordChange
    min_chars: int
    max_chars: int


class SignInWay(msgspec.Struct, frozen=True, omit_defaults=True):
    """A way to sign in with a browser.

    Attributes:
        kind: ``password``, ``jupyterhub`` or ``oidc``; later ones may carry more.
        label: name of the other site on the button, where one is configured.
    """

    kind: str
    label: str | None = None


class TokenRequest(BaseModel):
    """What a credential is exchanged for."""

    model_config = ConfigDict(extra="forbid")

    audience: Literal["ingest", "api", "gateway"]
    act_as: Username | None = Field(
        None, description="User name, spelled exactly, of the person whose events these are."
    )
    server: str | None = Field(
        None, max_length=255, description="Name of the Jupyter server that asks; empty for its user's default one."
    )


class TokenAnswer(msgspec.Struct, frozen=True):
    """An access token and the seconds that it is good for."""

    access_token: str
    expires_in: int
    token_type: str = "bearer"  # noqa: S105 - a kind, no secret


class JoinedAs(msgspec.Struct, frozen=True):
    """As whom a joined computer sends, and the title of its course, as the course's staff sees both now."""

    name: str
    title: str


class ExchangedToken(TokenAnswer, frozen=True):
    """An access token for a credential; ``joined`` only for the secret of a joined computer, where it is known at that time."""

    joined: JoinedAs | msgspec.UnsetType = msgspec.UNSET


class MyCourse(msgspec.Struct, frozen=True):
    """A course of the caller and their role in it."""

    course_id: str
    title: str
    role: str


class Me(msgspec.Struct, frozen=True):
    """Who the caller is."""

    person_id: str
    username: str
    display_name: str | None
    is_admin: bool
    courses: list[MyCourse]
