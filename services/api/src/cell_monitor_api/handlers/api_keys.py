"""API keys, for admins of the site."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Response

from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.dependencies import Context, SiteAdmin
from cell_monitor_api.models.api_keys import ApiKeyList, NewApiKey, NewApiKeyAnswer
from cell_monitor_core.auth.audit import Actor

__all__ = ["router"]

router = APIRouter(tags=["api-keys"])


@router.post("/api-keys", status_code=201, responses=answers(NewApiKeyAnswer, "Made", status=201))
async def create_api_key(context: Context, admin: SiteAdmin, body: NewApiKey) -> Response:
    """Make a key; its text is in this answer only."""
    key = await context.process.api_keys.create(
        name=body.name,
        scopes=body.scopes,
        lifetime=timedelta(days=body.expires_in_days),
        username=body.username,
        by=Actor.of(admin),
    )
    return StructResponse(key, 201)


@router.get("/api-keys", responses=answers(ApiKeyList, "All keys"))
async def list_api_keys(context: Context, _admin: SiteAdmin) -> Response:
    """All keys, without their secrets."""
    return StructResponse(await context.process.api_keys.list_all())


@router.delete("/api-keys/{key_id}", status_code=204)
async def revoke_api_key(
    context: Context, admin: SiteAdmin, key_id: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]
) -> Response:
    """Revoke a key."""
    await context.process.api_keys.revoke(key_id, by=Actor.of(admin))
    return Response(status_code=204)
