"""Listens to the kernels of recorded notebooks; sends the starts and ends of runs whose page is gone, and deaths that they cause.

Each kernel publishes what it does on its IOPub channel to everyone who subscribes; a run that goes on after its tab was
closed is still published there. Used are the public parts of jupyter_client and jupyter_server alone:
``MultiKernelManager.connect_iopub`` and ``add_restart_callback``, ``Session.clone`` and ``deserialize``, the session
manager's list, and the server's kernel action events. Where one of them is missing, `unavailable` says which, and the
pages report their open runs as aborted when they are closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from jupyter_core.utils import ensure_async
from zmq.eventloop.zmqstream import ZMQStream

from .answers import Answer
from .handed_runs import HandedRun
from .ingest_body import Batch, batch_body, event_json
from .kernel_request import DeathType
from .run_follower import RunFollower
from .run_journal import RunJournal
from .run_reports import RunReport

__all__ = ["KernelListener", "unavailable"]

_SCHEMA_ID = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"
_TICK_SECONDS = 1.0
_SEARCH_SECONDS = 0.2
_RETRY_SECONDS = 15.0
_KERNEL_SECONDS = 60.0
_MAX_KERNELS = 100
_SHOWN = frozenset(
    {
        "status",
        "execute_input",
        "stream",
        "execute_result",
        "display_data",
        "update_display_data",
        "clear_output",
        "error",
    }
)
# After these the notebook may have another kernel than before.
_KERNEL_MAY_BE_NEW = frozenset({"session_started", "kernel_connected", "kernel_restarted"})
# What jupyter_client calls back for, where a process has died, and the event of it. A restart or an end that somebody asks for is neither.
_DEATHS: Final[dict[str, DeathType]] = {"restart": "kernel_restarted", "dead": "kernel_died"}


def unavailable(server: Any) -> str | None:
    """Return why the kernels of a Jupyter server cannot be listened to; None if they can."""
    if getattr(getattr(server, "gateway_config", None), "gateway_enabled", False):
        return "the kernels run behind a gateway"
    for owner, names in (
        ("kernel_manager", ("connect_iopub", "add_restart_callback", "get_kernel", "__contains__")),
        ("session_manager", ("list_sessions",)),
        ("event_logger", ("add_listener",)),
    ):
        for name in names:
            if not callable(getattr(getattr(server, owner, None), name, None)):
                return f"this Jupyter server has no {owner}.{name}"
    return None


class KernelListener:
    """Follows the runs of this server's notebooks from their kernels' side.

    Args:
        server: the Jupyter server, of which `unavailable` returned None.
        submit: sends a batch, or keeps it; see ``Forwarder.submit``.
        journal: where the open runs are stored for the process that comes after this one.
        log: takes failures; never what a kernel published.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        server: Any,
        submit: Callable[..., Awaitable[Answer]],
        journal: RunJournal,
        log: logging.Logger | logging.LoggerAdapter[Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kernels = server.kernel_manager
        self._sessions = server.session_manager
        self._submit = submit
        self._journal = journal
        self._log = log
        self._clock = clock
        self._follower = RunFollower()
        self._streams: dict[str, ZMQStream] = {}
        self._paths: dict[str, str] = {}
        self._not_before: dict[str, float] = {}
        # Paths whose kernel is not known yet, and until when it is looked for: a page is recorded before it has a kernel.
        self._wanted: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False
        server.event_logger.add_listener(schema_id=_SCHEMA_ID, listener=self._on_kernel_action)

    def start(self) -> None:
        """Begin to send what is due, unless that has begun."""
        if not self._started:
            self._started = True
            self._spawn(self._send_forever())

    async def close(self) -> None:
        """Stop listening. Runs that go on are not reported."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._journal.close()
        for kernel_id in list(self._streams):
            self._stop_listening(kernel_id)

    @property
    def open_runs(self) -> int:
        """Runs whose start a page reported, and whose end nobody did yet."""
        return self._follower.open_runs

    def opened(self, path: str) -> None:
        """A page opens this notebook: listen to its kernel before the page's first event arrives, which may take seconds."""
        self._wanted[path] = self._clock() + _KERNEL_SECONDS
        self._wake.set()

    def observe(self, events: Iterable[Any], runs: Sequence[HandedRun] = (), waits_ms: Sequence[int] = ()) -> None:
        """Take the events of a page's batch, which are not validated, and the runs that it hands over. Returns at once.

        Args:
            events: as sent.
            runs: those that are open.
            waits_ms: how long each event waited in the browser.
        """
        listed = list(events)
        now = self._clock()
        self._follower.observe(listed, now, [wait / 1000 for wait in waits_ms])
        self._follower.hand_over(runs, now)
        for kernel_id in {run.kernel for run in runs if run.kernel is not None}:
            self._subscribe(kernel_id)
        for event in listed:
            path = _path_of(event)
            if path is None:
                continue
            kind = event.get("type")
            if kind in _KERNEL_MAY_BE_NEW or (kind == "cell_execution_started" and path not in self._paths):
                self._wanted[path] = self._clock() + _KERNEL_SECONDS
        self._wake.set()

    async def save(self) -> None:
        """Return when the open runs are stored for the process that comes after this one."""
        await self._journal.save(self._follower.saved())

    async def _listen_to_wanted(self) -> None:
        wanted = dict(self._wanted)
        if not wanted:
            return
        sessions = await ensure_async(self._sessions.list_sessions())
        kernels = {each.get("path"): each["kernel"]["id"] for each in sessions if each.get("kernel")}
        for path, until in wanted.items():
            kernel_id = kernels.get(path)
            if kernel_id is not None:
                self._paths[path] = kernel_id
                self._subscribe(kernel_id)
            if (kernel_id is not None or self._clock() >= until) and self._wanted.get(path) == until:
                del self._wanted[path]

    def _subscribe(self, kernel_id: str) -> None:
        if kernel_id in self._streams or kernel_id not in self._kernels or len(self._streams) >= _MAX_KERNELS:
            return
        # A session of its own: it notes the signatures that it has seen.
        session = self._kernels.get_kernel(kernel_id).session.clone()
        socket = self._kernels.connect_iopub(kernel_id)
        stream = socket if isinstance(socket, ZMQStream) else ZMQStream(socket)
        self._streams[kernel_id] = stream
        stream.on_recv(partial(self._received, kernel_id, session))
        for event, death in _DEATHS.items():
            self._kernels.add_restart_callback(kernel_id, partial(self._gone, kernel_id, death), event)

    def _received(self, kernel_id: str, session: Any, frames: list[bytes]) -> None:
        try:
            _, parts = session.feed_identities(frames)
            # Most messages are of no run that is followed: their content stays as it is.
            message = session.deserialize(parts, content=False)
            starting = message["msg_type"] == "status"
            if not starting and message["parent_header"].get("msg_type") != "execute_request":
                return
            if message["msg_type"] not in _SHOWN:
                return
            message["content"] = session.unpack(message["content"])
            self._follower.message(kernel_id, message, self._clock())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._log.debug("A message of a kernel cannot be read (%s).", type(error).__name__)
            return
        if starting:
            self._wake.set()

    def _gone(self, kernel_id: str, death: DeathType | None = None) -> None:
        self._follower.kernel_gone(kernel_id, self._clock(), death)
        self._wake.set()

    async def _on_kernel_action(self, logger: Any, schema_id: str, data: dict[str, Any]) -> None:  # noqa: ARG002 - the names are Jupyter's
        if data.get("status") != "success":
            return
        if data.get("action") in {"restart", "shutdown"}:
            self._gone(str(data.get("kernel_id")))
        elif data.get("action") == "interrupt":
            self._follower.interrupted(str(data.get("kernel_id")))

    def _stop_listening(self, kernel_id: str) -> None:
        stream = self._streams.pop(kernel_id)
        self._paths = {path: kernel for path, kernel in self._paths.items() if kernel != kernel_id}
        if not stream.closed():
            stream.close()

    async def _send_forever(self) -> None:
        recovered = await self._journal.open()
        if recovered is not None:
            self._follower.recover(recovered.runs, self._clock(), recovered.ago_s)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SEARCH_SECONDS if self._wanted else _TICK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._listen_to_wanted()
            except Exception as error:  # noqa: BLE001 - a session manager of another package may raise anything
                self._log.warning("The kernel of a notebook cannot be listened to (%s).", type(error).__name__)
            try:
                for kernel_id in [each for each in self._streams if each not in self._kernels]:
                    self._gone(kernel_id)
                    self._stop_listening(kernel_id)
                for kernel_id in [each for each in self._follower.kernels if each not in self._kernels]:
                    # Of a server that was killed: the kernel ended with it.
                    self._follower.kernel_gone(kernel_id, self._clock())
                await self.save()
                await self._send_due()
            except Exception as error:  # noqa: BLE001 - the next run must still be sent
                self._log.warning("The end of a run could not be reported (%s).", type(error).__name__)

    async def _send_due(self) -> None:
        now = self._clock()
        for execution_id in [report.execution_id for report in self._follower.due(now)]:
            # Made now: its numbers come after those of what was sent before it.
            report = self._follower.report(execution_id, now)
            if report is None or now < self._not_before.get(execution_id, now):
                continue
            if await self._sent(report):
                self._not_before.pop(execution_id, None)
                self._follower.settled(report)
                self._wake.set()
            else:
                self._not_before[execution_id] = now + _RETRY_SECONDS

    async def _sent(self, report: RunReport) -> bool:
        waits = [round(max(0.0, self._clock() - at) * 1000) for at in report.times]
        body = batch_body([event_json(event) for event in report.events], waits)
        answer = await self._submit(Batch(body, list(report.events), waited_ms=waits), traceparent=None)
        if answer.status >= 500:
            return False
        results = answer.body.get("results", []) if isinstance(answer.body, dict) else []
        return all(result.get("status") != "retry" for result in results)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _path_of(event: Any) -> str | None:
    notebook = event.get("notebook") if isinstance(event, dict) else None
    path = notebook.get("path") if isinstance(notebook, dict) else None
    return path if isinstance(path, str) and path else None
