"""Bodies of the API key routes."""

from __future__ import annotations

from typing import Annotated

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from cell_monitor_api.models.auth import Username
from cell_monitor_core.names import MAX_KEY_NAME_CHARS, NAME_PATTERN
from cell_monitor_core.storage.postgres.api_keys import MAX_DAYS

__all__ = ["ApiKeyAnswer", "ApiKeyList", "NewApiKey", "NewApiKeyAnswer"]


class NewApiKey(BaseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=MAX_KEY_NAME_CHARS, pattern=NAME_PATTERN)]
    scopes: Annotated[list[str], Field(min_length=1, max_length=20)]
    expires_in_days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = 365
    username: Username | None = Field(None, description="Whose identity the key carries; none for a service.")


class ApiKeyAnswer(msgspec.Struct, frozen=True):
    """A key without its secret; times are RFC 3339.

    Attributes:
        username: of the person whose identity the key carries, None for a service.
    """

    key_id: str
    name: str
    person_id: str | None
    username: str | None
    scopes: list[str]
    created_at: str
    expires_at: str
    revoked_at: str | None
    last_used_at: str | None


class NewApiKeyAnswer(ApiKeyAnswer, frozen=True, kw_only=True):
    """A key that was just made; ``key`` is shown this once."""

    key: str


class ApiKeyList(msgspec.Struct, frozen=True):
    """All keys, newest first, those revoked or over included."""

    api_keys: list[ApiKeyAnswer]
