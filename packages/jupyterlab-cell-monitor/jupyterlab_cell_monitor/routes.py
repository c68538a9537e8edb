"""The addresses below the Jupyter server's own: `cell-monitor` and `cell-monitor/status`; see also `notebook_routes`."""

from __future__ import annotations

import asyncio
import json

from jupyter_server.base.handlers import APIHandler
from jupyter_server.extension.handler import ExtensionHandlerMixin
from tornado import web

from .answers import Answer, encoded
from .forwarder import Forwarder
from .handed_runs import read_runs
from .ingest_body import TRACEPARENT, Batch, BodyError, read_batch
from .kernel_listener import KernelListener
from .waits import browser_waits

__all__ = ["CellMonitorHandler", "EventsHandler", "StatusHandler"]


class CellMonitorHandler(ExtensionHandlerMixin, APIHandler):
    """What the handlers share: a refusal with its error code, and that they are no activity of the student."""

    # A heartbeat is not the student at work: it must not keep an idle server from being culled.
    _track_activity = False

    @property
    def forwarder(self) -> Forwarder:
        """Sends batches to the monitor."""
        forwarder: Forwarder = self.settings["cell_monitor_forwarder"]
        return forwarder

    def give(self, answer: Answer) -> None:
        """Answers the request."""
        self.set_status(answer.status)
        for name, value in answer.headers.items():
            self.set_header(name, value)
        self.set_header("Cache-Control", "no-store")
        self.finish(encoded(answer), set_content_type="application/json")

    def refuse(self, status: int, error: str, msg: str) -> None:
        """Answers with an error in the form of the API's."""
        self.give(Answer(status, {"detail": [{"type": error, "msg": msg}]}))


class EventsHandler(CellMonitorHandler):
    """Takes the front end's batches."""

    @web.authenticated
    async def post(self) -> None:
        """Sends a batch to the monitor, in test mode when its body has a `test_id`."""
        media_type = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type != "application/json" or self.request.headers.get("Content-Encoding"):
            self.refuse(415, "unsupported_media_type", "Send plain application/json.")
            return
        if self.get_query_argument("test_id", None) is not None:
            # If it were ignored, the events of a test would be stored as a course's.
            self.refuse(400, "invalid_body", 'Name the test in the body, as "test_id".')
            return
        try:
            batch = read_batch(self.request.body)
        except BodyError as error:
            self.refuse(error.status, error.error, error.msg)
            return
        if batch.test_id is not None and not self.settings["cell_monitor_test_mode"]:
            self.refuse(
                404,
                "not_found",
                "The test mode is off here: the option test_mode or CELL_MONITOR_TEST_MODE turns it on.",
            )
            return
        listener: KernelListener | None = self.settings.get("cell_monitor_listener")
        if listener is not None and batch.test_id is None:
            # Before it is sent, which may take seconds: what the page reports, the listener does not report.
            waits = browser_waits(batch.events, batch.sent_at, batch.waited_ms)
            listener.observe(batch.events, read_runs(batch.runs), waits)
        # The page keeps what is not answered: an answer says that the runs are known also after a kill of this server.
        answer, _ = await asyncio.gather(self._answer(batch), listener.save() if listener is not None else _nothing())
        self.give(answer)

    async def _answer(self, batch: Batch) -> Answer:
        if batch.runs is not None and not batch.events:
            # Nothing of it is the monitor's, which would be asked for the notices.
            return Answer(200, {"results": [], "notices": None})
        traceparent = self.request.headers.get("traceparent", "")
        return await self.forwarder.submit(
            batch, traceparent=traceparent if TRACEPARENT.fullmatch(traceparent) else None
        )


async def _nothing() -> None:
    """Stores nothing: no run is followed."""


class StatusHandler(CellMonitorHandler):
    """Reports the state of the connection to the monitor."""

    @web.authenticated
    def get(self) -> None:
        """Answers the state and the size of the spool."""
        self.set_header("Cache-Control", "no-store")
        listener: KernelListener | None = self.settings.get("cell_monitor_listener")
        runs: dict[str, object] = {"followed": listener is not None}
        if listener is not None:
            runs["open"] = listener.open_runs
        problem = self.settings.get("cell_monitor_listener_problem")
        if problem:
            runs["reason"] = problem
        self.finish(json.dumps(self.forwarder.status() | {"runs": runs}))
