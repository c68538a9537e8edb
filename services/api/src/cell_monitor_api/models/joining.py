"""Bodies of the routes of joining."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import UUID

import msgspec
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from cell_monitor_core.storage.postgres.join_codes import MAX_LIFETIME, TEXT_CHARS
from cell_monitor_core.storage.postgres.joined_computers import SECRET_PATTERN

__all__ = ["Join", "JoinCodeAnswer", "Joined", "Merge", "NewJoinCode"]

_MAX_MINUTES: Final = int(MAX_LIFETIME.total_seconds() // 60)


class Join(BaseModel):
    """What a computer sends to join."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    code: Annotated[SecretStr, Field(min_length=1, max_length=TEXT_CHARS)]
    name: Annotated[str, Field(min_length=1, max_length=60, description="Shown to the course's staff.")]
    secret: Annotated[
        str,
        Field(
            pattern=SECRET_PATTERN,
            repr=False,
            description="32 random bytes in base64url, made and kept by this computer.",
        ),
    ]


class Joined(msgspec.Struct, frozen=True):
    """The course that was joined, and the name as it is shown there.

    Attributes:
        name: on the roster. It is given once: with the same secret and another name it stays.
        name_kept: whether it is another one than was sent now, because this computer had joined before.
    """

    course_id: str
    title: str
    name: str
    name_kept: bool


class NewJoinCode(BaseModel):
    """How long a new code lets people in."""

    model_config = ConfigDict(extra="forbid")

    minutes: int = Field(180, ge=1, le=_MAX_MINUTES)


class JoinCodeAnswer(msgspec.Struct, frozen=True):
    """A course's code and how many joined by it; ``code`` and ``expires_at`` are null while joining is closed."""

    code: str | None
    expires_at: str | None
    people: int
    most: int


class Merge(BaseModel):
    """Whose events a joined computer sends from now on."""

    model_config = ConfigDict(extra="forbid")

    into: UUID
