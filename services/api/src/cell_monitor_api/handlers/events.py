"""The reference path of ``POST /api/v1/events``: the route that OpenAPI documents, and what the fast path is compared with.

In the server as it is started the fast path (``handlers.ingest``) answers these requests before they reach this route.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from cell_monitor_api.access_tokens import last_header
from cell_monitor_api.answers import answers
from cell_monitor_api.dependencies import Context, EventSender
from cell_monitor_api.handlers.ingest import read_events
from cell_monitor_api.services.ingest import IngestAnswer

__all__ = ["INGEST_BODY", "ingest_response", "router"]

router = APIRouter(tags=["ingest"])

INGEST_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "At most 200 events, 1 MiB, 64 KiB an event; optionally `Content-Encoding: gzip`.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/IngestBody"}}},
    }
}


def ingest_response(answer: IngestAnswer, retry_after: int | None) -> Response:
    """Return the answer to an ingest request."""
    headers = None if retry_after is None else {"retry-after": str(retry_after)}
    return Response(msgspec.json.encode(answer), media_type="application/json", headers=headers)


@router.post(
    "/events", responses=answers(IngestAnswer, "One result for each event, in order"), openapi_extra=INGEST_BODY
)
async def ingest(request: Request, context: Context, sender: EventSender) -> Response:
    """Take events; `accepted` means durably queued."""
    answer, retry_after = await context.process.ingest.take(
        sender, await read_events(request), traceparent=last_header(request.headers, "traceparent")
    )
    return ingest_response(answer, retry_after)
