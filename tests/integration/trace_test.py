"""Hazard: a trace ends at one of the hops from the request of an event to the frame that shows it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from cell_monitor.embedded.process import free_port
from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.auth.tokens import TokenIssuer
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_testing.keys import NEWEST_GENERATION, SampleSecrets
from cell_monitor_testing.processes import ServiceProcess

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CLICK = "00f067aa0ba902b7"


@dataclass
class Collector:
    """Spans received by an OTLP/HTTP collector."""

    url: str = ""
    spans: list[tuple[str, Span]] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
            for scope in resource.scope_spans:
                self.spans.extend((service, span) for span in scope.spans)

    def named(self, name: str) -> list[Span]:
        return [span for _, span in list(self.spans) if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    received = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield received
        server.shutdown()
        thread.join()


async def test_a_sampled_request_is_traced_to_the_frame(
    database: str, valkey: str, secrets: SampleSecrets, collector: Collector, tmp_path: Path
) -> None:
    ports = {name: free_port() for name in ("api", "worker", "gateway")}
    issuer = TokenIssuer(SigningKeys.load(secrets.signing_keys))
    student, teacher = uuid4(), uuid4()
    connection = await asyncpg.connect(database)
    await connection.execute("INSERT INTO courses (course_id, title) VALUES ('c1', 'Traced')")
    await connection.execute(
        "INSERT INTO people (person_id, username_hash, username_enc) VALUES ($1, $2, $3)", student, b"s", b"-"
    )
    await connection.execute("INSERT INTO memberships VALUES ('c1', $1, 'student')", student)
    await connection.close()

    def service(name: str, **settings: str) -> ServiceProcess:
        values = {"REDIS_URL": valkey, f"{name.upper()}_PORT": str(ports[name]), "OTLP_ENDPOINT": collector.url}
        values["TRACE_SAMPLE_RATIO"] = "0"  # only the request with a sampled traceparent
        if name != "gateway":
            values |= {"DATABASE_URL": database, "INDEX_KEY": secrets.index_key}
            values["ENCRYPTION_KEYS"] = secrets.encryption_keys
        env = {f"CELL_MONITOR_{key}": value for key, value in (values | settings).items()}
        return ServiceProcess(f"cell_monitor_{name}", env=env, port=ports[name], log_path=tmp_path / f"{name}.log")

    jwks = f"http://127.0.0.1:{ports['api']}/api/v1/auth/jwks.json"
    gateway = f"ws://127.0.0.1:{ports['gateway']}/ws"
    async with AsyncExitStack() as services:
        await services.enter_async_context(service("api", SIGNING_KEYS=secrets.signing_keys))
        await services.enter_async_context(service("worker"))
        await services.enter_async_context(service("gateway", JWKS_URL=jwks))
        async with connect(gateway, subprotocols=[Subprotocol("cell-monitor.v1")]) as socket:
            token, _ = issuer.issue(
                grant=Grant.SESSION,
                person_id=teacher,
                audience=["gateway"],
                courses={"c1": "instructor"},
                generation=NEWEST_GENERATION,
            )
            await socket.send(json.dumps({"type": "connect", "id": 1, "token": token}))
            assert json.loads(await socket.recv())["type"] == "connected"
            await socket.send(json.dumps({"type": "subscribe", "id": 2, "channel": "course:c1"}))
            assert json.loads(await socket.recv())["type"] == "subscribed"
            token, _ = issuer.issue(
                grant=Grant.API_KEY,
                person_id=student,
                audience=["ingest"],
                courses={"c1": "student"},
                scopes=["events:write"],
                generation=NEWEST_GENERATION,
            )
            event = {
                "event_id": str(new_event_id()),
                "type": "cell_selected",
                "schema_version": 1,
                "occurred_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "session_id": str(uuid4()),
                "seq": 1,
                "notebook": {"id": "nb", "path": "nb.ipynb"},
                "cell": {"id": "c", "source_id": "c", "index": 0, "type": "code"},
                "data": {},
            }
            async with httpx.AsyncClient() as client:
                answer = await client.post(
                    f"http://127.0.0.1:{ports['api']}/api/v1/events",
                    json={"events": [event]},
                    headers={"authorization": f"Bearer {token}", "traceparent": f"00-{TRACE_ID}-{CLICK}-01"},
                )
            assert answer.json()["results"][0]["status"] == "accepted"
            async with asyncio.timeout(60):
                while True:
                    frame = json.loads(await socket.recv())
                    shown = [p for p in frame.get("publications", []) if p["kind"] == "student"]
                    if shown:
                        break
        # The services have exited and exported their spans before.
    deadline = time.monotonic() + 60
    while not all(collector.named(name) for name in ("ingest", "process_batch", "publish", "frame")):
        assert time.monotonic() < deadline, [span.name for _, span in collector.spans]
        await asyncio.sleep(0.05)
    [ingest] = collector.named("ingest")
    assert ingest.trace_id.hex() == TRACE_ID
    assert ingest.parent_span_id.hex() == CLICK
    [batch] = collector.named("process_batch")
    assert [link.trace_id.hex() for link in batch.links] == [TRACE_ID]
    assert batch.trace_id.hex() != TRACE_ID, "a batch links to its events and has no parent"
    [publish] = collector.named("publish")
    assert publish.trace_id.hex() == TRACE_ID
    [on_screen] = collector.named("frame")
    assert on_screen.trace_id.hex() == TRACE_ID
    assert on_screen.parent_span_id == publish.span_id
    assert TRACE_ID in shown[0]["traceparent"], "the span of the frame for the dashboard"
    assert {service for service, _ in collector.spans} == {
        "cell-monitor-api",
        "cell-monitor-worker",
        "cell-monitor-gateway",
    }
