"""API keys, for admins of the site."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.dependencies import Context, SiteAdmin
from cell_monitor_api.models.api_keys import ApiKeyAnswer, ApiKeyList, NewApiKey, NewApiKeyAnswer
from cell_monitor_core.administration.api_keys import ListedKey
from cell_monitor_core.auth.audit import Actor
from cell_monitor_core.timestamps import to_text

__all__ = ["router"]

router = APIRouter(tags=["api-keys"])


@router.post("/api-keys", status_code=201, responses=answers(NewApiKeyAnswer, "Made", status=201))
async def create_api_key(context: Context, admin: SiteAdmin, body: NewApiKey) -> Response:
    """Make a key; its text is in this answer only."""
    made, text = await context.process.api_keys.create(
        name=body.name,
        scopes=body.scopes,
        lifetime=timedelta(days=body.expires_in_days),
        owner=body.username,
        by=Actor.of(admin),
    )
    return StructResponse(NewApiKeyAnswer(**_fields(made), key=text), 201)


@router.get("/api-keys", responses=answers(ApiKeyList, "All keys"))
async def list_api_keys(context: Context, _admin: SiteAdmin) -> Response:
    """All keys, without their secrets."""
    listed = await context.process.api_keys.list_all()
    return StructResponse(ApiKeyList([ApiKeyAnswer(**_fields(each)) for each in listed]))


@router.delete("/api-keys/{key_id}", status_code=204)
async def revoke_api_key(
    context: Context, admin: SiteAdmin, key_id: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]
) -> Response:
    """Revoke a key."""
    await context.process.api_keys.revoke(key_id, by=Actor.of(admin))
    return Response(status_code=204)


def _fields(listed: ListedKey) -> dict[str, Any]:
    key = listed.key
    return {
        "key_id": key.key_id,
        "name": key.name,
        "person_id": None if key.person_id is None else str(key.person_id),
        "username": listed.username,
        "scopes": list(key.scopes),
        "created_at": to_text(key.created_at),
        "expires_at": to_text(key.expires_at),
        "revoked_at": to_text(key.revoked_at),
        "last_used_at": to_text(key.last_used_at),
    }
