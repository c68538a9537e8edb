"""docs/dev/asyncapi.yaml: the WebSocket protocol, the publications and the event stream, generated from the code.

``make generate`` writes it; a test compares it with the code and validates the golden files with its schemas. https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

import inspect
from typing import Any, Final, get_args

import msgspec
import yaml

from cell_monitor_core import keys, publications
from cell_monitor_core.records import MAX_RECORDS_PER_ENTRY, StreamRecord
from cell_monitor_gateway import protocol

__all__ = ["build", "render"]

_STATES: Final = {
    "student": publications.StudentState,
    "help": publications.HelpState,
    "course": publications.CourseState,
}
_SCHEMAS: Final = "#/components/schemas/{name}"
_INTEGER: Final = {"type": "integer"}
_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}

Object = dict[str, Any]


def _reference(name: str) -> Object:
    return {"$ref": f"#/components/schemas/{name}"}


def _frame(description: str, kind: str, **fields: Object) -> Object:
    """Return the schema of a frame that the gateway sends; all of its fields are required."""
    return {
        "type": "object",
        "description": description,
        "properties": {"type": {"const": kind}, **fields},
        "required": ["type", *fields],
    }


def _server_frames() -> dict[str, Object]:
    batch = {"type": "array", "items": _reference("Publication")}
    code = {"enum": [int(code) for code in protocol.CloseCode]}
    return {
        "Connected": _frame(
            "The connection accepts requests. watermarks: the gateway sends them; absent from gateways of earlier releases.",
            "connected",
            id=_INTEGER, ping_interval_s={"type": "number"}, expires_at=_TIME, watermarks={"const": True},
        ),
        "Subscribed": _frame(
            "The position of the channel. If recovered is false, publications is empty: fetch the snapshot and subscribe "
            "again from its position.",
            "subscribed",
            id=_INTEGER, channel=_TEXT, epoch=_TEXT, offset=_INTEGER, recovered={"type": "boolean"}, publications=batch,
        ),
        "Unsubscribed": _frame("The connection is no longer subscribed to the channel.", "unsubscribed", id=_INTEGER, channel=_TEXT),
        "Refreshed": _frame("The newer token is used from now on.", "refreshed", id=_INTEGER, expires_at=_TIME),
        "Presence": _frame("Number of connections that are subscribed.", "presence", id=_INTEGER, channel=_TEXT, watching=_INTEGER),
        "Publications": _frame(
            "Publications in the order of the offsets and without a gap.", "publications", channel=_TEXT, publications=batch
        ),
        "Error": _frame(
            "A request was refused; the connection stays open.",
            "error",
            id=_INTEGER,
            error={
                "type": "object",
                "properties": {"type": {"enum": [str(kind) for kind in protocol.ErrorType]}, "msg": _TEXT},
                "required": ["type", "msg"],
            },
        ),
        "Watermark": _frame(
            "Every event that was queued before at is in the publications up to offset. Both times are milliseconds since "
            "the epoch by one clock of the server.",
            "watermark",
            channel=_TEXT, epoch=_TEXT, offset=_INTEGER, at=_INTEGER, published_at=_INTEGER,
        ),
        "Ping": _frame("Answer with pong.", "ping"),
        "Disconnect": _frame(
            "The gateway closes the connection with this code. reconnect_after_ms is null: do not reconnect.",
            "disconnect",
            code=code, reason=_TEXT, reconnect_after_ms={"type": ["integer", "null"]},
        ),
    }  # fmt: skip


_REPLIES: Final = {
    "Connect": "Connected",
    "Subscribe": "Subscribed",
    "Unsubscribe": "Unsubscribed",
    "Refresh": "Refreshed",
    "PresenceRequest": "Presence",
}


def _first_paragraph(schema: Object) -> Object:
    if "description" in schema:
        paragraph = inspect.cleandoc(schema["description"]).split("\n\n")[0]
        schema["description"] = " ".join(paragraph.replace("``", "").split())
    return schema


def _schemas() -> dict[str, Object]:
    client = get_args(protocol.Request)
    structs = [*_STATES.values(), publications.Publication, *client, StreamRecord]
    _, schemas = msgspec.json.schema_components(structs, ref_template=_SCHEMAS)
    states = [_reference(kind.__name__) for kind in _STATES.values()]
    test = {"type": "object", "properties": {"event_id": _TEXT, "type": _TEXT}, "required": ["event_id", "type"]}
    schemas["Publication"]["properties"]["state"] = {"anyOf": [*states, test]}
    record = schemas["StreamRecord"]
    names = [field.name for field in msgspec.structs.fields(StreamRecord)]
    for name, item in zip(names, record["prefixItems"], strict=True):
        item["title"] = name
        if item.pop("contentEncoding", None):
            # msgspec describes JSON; in MessagePack bytes are bytes.
            item["description"] = "MessagePack bin"
    return {name: _first_paragraph(schema) for name, schema in sorted((schemas | _server_frames()).items())}


def _messages(schemas: dict[str, Object]) -> dict[str, Object]:
    frames = [kind.__name__ for kind in get_args(protocol.Request)] + list(_server_frames())
    messages: dict[str, Object] = {
        name: {
            "name": schemas[name]["properties"]["type"].get("const") or schemas[name]["properties"]["type"]["enum"][0],
            "title": name,
            "summary": schemas[name]["description"],
            "contentType": "application/json",
            "payload": _reference(name),
        }
        for name in frames
    }
    messages["Publication"] = {
        "name": "publication",
        "title": "Publication",
        "summary": schemas["Publication"]["description"],
        "contentType": "application/json",
        "payload": _reference("Publication"),
    }
    messages["StreamEntry"] = {
        "name": "streamEntry",
        "title": "StreamEntry",
        "summary": "Fields v = 1 and b, a MessagePack array of records. A beat has no records, and a field w: its time in "
        "milliseconds since the epoch and the followed channels, one a line.",
        "contentType": "application/vnd.msgpack",
        "payload": {
            "type": "array",
            "minItems": 0,
            "maxItems": MAX_RECORDS_PER_ENTRY,
            "items": _reference("StreamRecord"),
        },
    }
    return messages


def _of(channel: str, *names: str) -> list[Object]:
    return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]


def _operations() -> dict[str, Object]:
    operations: dict[str, Object] = {}
    for request, answer in _REPLIES.items():
        operations[f"receive{request}"] = {
            "action": "receive",
            "channel": {"$ref": "#/channels/websocket"},
            "messages": _of("websocket", request),
            "reply": {"channel": {"$ref": "#/channels/websocket"}, "messages": _of("websocket", answer, "Error")},
        }
    operations["receivePong"] = {
        "action": "receive",
        "channel": {"$ref": "#/channels/websocket"},
        "messages": _of("websocket", "Pong"),
    }
    operations["sendUnasked"] = {
        "action": "send",
        "channel": {"$ref": "#/channels/websocket"},
        "messages": _of("websocket", "Publications", "Watermark", "Ping", "Disconnect"),
    }
    for action, actor in (("send", "the API and the worker"), ("receive", "the gateway")):
        operations[f"{action}Publication"] = {
            "action": action,
            "summary": f"Done by {actor}.",
            "channel": {"$ref": "#/channels/publications"},
            "messages": _of("publications", "Publication"),
        }
    for action, actor in (("send", "the API"), ("receive", "the worker")):
        operations[f"{action}StreamEntry"] = {
            "action": action,
            "summary": f"Done by {actor}.",
            "channel": {"$ref": "#/channels/events"},
            "messages": _of("events", "StreamEntry"),
        }
    return operations


def build() -> Object:
    """Return the document."""
    schemas = _schemas()
    messages = _messages(schemas)
    websocket = [name for name in messages if name not in {"Publication", "StreamEntry"}]
    partition = {"description": f"Hash tag of a partition, braces included, such as {keys.partition_tag(0)}."}

    def channel_messages(*names: str) -> Object:
        return {name: {"$ref": f"#/components/messages/{name}"} for name in names}

    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Cell Monitor",
            "version": protocol.SUBPROTOCOL.rpartition(".v")[2],
            "description": "Messages on the WebSocket and in Redis. HTTP is in openapi.json. Receivers must ignore unknown "
            "fields.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "gateway": {"host": "localhost:8901", "protocol": "ws", "description": "The WebSocket gateway."},
            "redis": {
                "host": "localhost:6379",
                "protocol": "redis",
                "description": "Redis or Valkey, single or cluster.",
            },
        },
        "channels": {
            "websocket": {
                "address": "/ws",
                "title": f"WebSocket, subprotocol {protocol.SUBPROTOCOL}",
                "description": f"JSON text frames, at most {protocol.MAX_REQUEST_BYTES} bytes each from the client.",
                "servers": [{"$ref": "#/servers/gateway"}],
                "messages": channel_messages(*websocket),
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
                "x-close-codes": [
                    {
                        "code": int(code),
                        "reason": code.reason,
                        "reconnect": code.reconnect,
                        "description": code.description,
                    }
                    for code in protocol.CloseCode
                ],
            },
            "publications": {
                "address": keys.publication_channel(0).replace(keys.partition_tag(0), "{partition}"),
                "title": "Live publications, sharded Pub/Sub",
                "parameters": {"partition": partition},
                "servers": [{"$ref": "#/servers/redis"}],
                "messages": channel_messages("Publication"),
            },
            "events": {
                "address": keys.events_stream(0).replace(keys.partition_tag(0), "{partition}"),
                "title": "Events, a stream with the consumer groups " + " and ".join(keys.REQUIRED_GROUPS),
                "parameters": {"partition": partition},
                "servers": [{"$ref": "#/servers/redis"}],
                "messages": channel_messages("StreamEntry"),
            },
        },
        "operations": _operations(),
        "components": {"messages": messages, "schemas": schemas},
    }


class _Dumper(yaml.SafeDumper):
    """YAML without anchors, so that each part of the document can be read on its own."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def render() -> str:
    """Return the document's text."""
    head = "# Made by `make generate` from the code. Do not edit.\n"
    return head + yaml.dump(build(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
