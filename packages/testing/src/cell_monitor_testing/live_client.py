"""A live client without a user interface that processes snapshots and frames as the dashboard does.

It fetches the course's snapshot, subscribes from its position, applies publications by version, checks that the offsets
have no gaps, judges by watermarks how far it is behind, and reconnects as the close codes require. Its state at the end
must equal a new snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, Final, Self

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

__all__ = ["LiveClient", "OffsetGap", "ReconnectForbidden"]

_SUBPROTOCOL: Final = Subprotocol("cell-monitor.v1")
_NO_RECONNECT: Final = range(3500, 4000)
"""Close codes after which a dashboard does not reconnect."""
_ACTIVE: Final = frozenset({"open", "claimed"})
_FRAME_BYTES: Final = 16 * 1024 * 1024

Row = dict[str, Any]


class OffsetGap(AssertionError):  # noqa: N818 - the name describes the failure
    """The gateway skipped publications without an error, which it must never do."""


class ReconnectForbidden(AssertionError):  # noqa: N818 - the name describes the failure
    """The gateway closed a correct client's connection with a code that forbids to reconnect."""


class LiveClient:
    """Follows one course until ``stop`` and reconnects after failures. Use it as ``async with``.

    Attributes:
        students: rows by student id. ``help``: requests by id. ``counters``: counters of the course.
        live: set while it is subscribed.
        closes: close codes of its connections so far; 1006 for a broken connection.
        reconnects: number of connections that were lost or refused. ``recoveries``: subscriptions that recovered all
            missed publications. ``snapshots``: snapshots fetched. ``publications``: publications applied.
        watermark: the newest one, None before the first.
    """

    def __init__(
        self,
        *,
        api: str,
        gateway: str | Sequence[str],
        course_id: str,
        token: Callable[[], Awaitable[str]],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Configure the client; it is not connected.

        Args:
            api: base URL of the API.
            gateway: WebSocket URL of the gateway with ``/ws``, or several that are tried in turn.
            course_id: the course to follow.
            token: returns a fresh access token for the audiences ``api`` and ``gateway``.
            tls: whom it trusts, where the addresses are those of a proxy with TLS.
        """
        self._api = api
        self._gateways = [gateway] if isinstance(gateway, str) else list(gateway)
        self._course_id = course_id
        self._token = token
        self._tls = tls
        self._attempts = count()
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._http: httpx.AsyncClient | None = None
        self._pause = 0.0
        self.gateway = ""
        self.students: dict[str, Row] = {}
        self.help: dict[str, Row] = {}
        self.counters: Row = {}
        self.epoch = ""
        self.offset = 0
        self.live = asyncio.Event()
        self.closes: list[int] = []
        self.reconnects = 0
        self.recoveries = 0
        self.snapshots = 0
        self.publications = 0
        self.watermark: dict[str, Any] | None = None
        self._proven_at = float("-inf")

    @property
    def delay_s(self) -> float:
        """How far it is behind, as the dashboard judges it; infinite before the first watermark."""
        return time.monotonic() - self._proven_at

    async def __aenter__(self) -> Self:
        self._http = httpx.AsyncClient(base_url=self._api, timeout=60, trust_env=False, verify=self._tls or True)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Disconnect; raise the failure that ended the client, such as an ``OffsetGap``."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._http is not None:
            await self._http.aclose()
            self._http = None
        self.check()

    def check(self) -> None:
        """Raise the failure that ended the client, if any."""
        if self._failure is not None:
            raise self._failure

    async def fetch(self) -> dict[str, Any]:
        """Return a fresh snapshot of the course.

        Raises:
            httpx.HTTPError: the API is unavailable or refused the request.
        """
        assert self._http is not None
        answer = await self._http.get(
            f"/api/v1/courses/{self._course_id}/state", headers={"Authorization": f"Bearer {await self._token()}"}
        )
        answer.raise_for_status()
        return dict(answer.json())

    def differences(self, snapshot: dict[str, Any]) -> list[str]:
        """Return the differences between the client's state and a snapshot; empty if they are equal."""
        found = _differences("student", self.students, {row["student_id"]: row for row in snapshot["students"]})
        shown = {key: entry for key, entry in self.help.items() if entry["status"] in _ACTIVE}
        found += _differences("help", shown, {entry["request_id"]: entry for entry in snapshot["help"]})
        return found + _differences("counters", {"course": self.counters}, {"course": snapshot["counters"]})

    async def _snapshot(self) -> None:
        snapshot = await self.fetch()
        self.students = {row["student_id"]: row for row in snapshot["students"]}
        self.help = {entry["request_id"]: entry for entry in snapshot["help"]}
        self.counters = snapshot["counters"]
        self.epoch, self.offset = snapshot["epoch"], snapshot["offset"]
        self.snapshots += 1

    async def _run(self) -> None:
        need_snapshot = True
        try:
            while True:
                self._pause = random.uniform(0.05, 0.3)  # noqa: S311 - jitter, not a secret
                try:
                    if need_snapshot:
                        await self._snapshot()
                        need_snapshot = False
                    need_snapshot = await self._follow()
                    continue
                except ConnectionClosed as closed:
                    self._note_close(closed)
                except (OSError, httpx.HTTPError, InvalidHandshake):
                    pass
                self.live.clear()
                self.reconnects += 1
                await asyncio.sleep(self._pause)
        except Exception as error:  # noqa: BLE001 - raised by ``check`` and ``stop``
            self.live.clear()
            self._failure = error

    def _note_close(self, closed: ConnectionClosed) -> None:
        code = closed.rcvd.code if closed.rcvd is not None else 1006
        self.closes.append(code)
        if code in _NO_RECONNECT:
            raise ReconnectForbidden(f"closed with {code}: {closed.rcvd and closed.rcvd.reason}")

    async def _follow(self) -> bool:
        """Follow one connection to its end; return whether a snapshot is needed.

        Raises:
            ConnectionClosed, OSError, InvalidHandshake: the connection ended or could not be opened.
        """
        channel = f"course:{self._course_id}"
        self.gateway = self._gateways[next(self._attempts) % len(self._gateways)]
        async with connect(
            self.gateway, subprotocols=[_SUBPROTOCOL], open_timeout=5, proxy=None, max_size=_FRAME_BYTES, ssl=self._tls
        ) as socket:
            await self._send(socket, type="connect", id=1, token=await self._token())
            await self._reply(socket, "connected")
            await self._send(socket, type="subscribe", id=2, channel=channel, epoch=self.epoch, offset=self.offset)
            reply = await self._reply(socket, "subscribed")
            if not reply["recovered"]:
                return True
            self.recoveries += 1
            for publication in reply["publications"]:
                self._patch(publication)
            self.live.set()
            while True:
                frame = json.loads(await socket.recv())
                if frame["type"] == "publications":
                    for publication in frame["publications"]:
                        self._patch(publication)
                elif frame["type"] == "watermark":
                    self._note_watermark(frame)
                elif frame["type"] == "ping":
                    await self._send(socket, type="pong")
                elif frame["type"] == "disconnect":
                    self.live.clear()
                    self._pause = (frame["reconnect_after_ms"] or 0) / 1000

    @staticmethod
    async def _send(socket: ClientConnection, **frame: Any) -> None:
        await socket.send(json.dumps(frame))

    @staticmethod
    async def _reply(socket: ClientConnection, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while True:
                frame = json.loads(await socket.recv())
                if frame["type"] == kind:
                    return dict(frame)
                if frame["type"] == "error":
                    if frame["error"]["type"] == "unavailable":
                        raise ConnectionError("the gateway cannot recover at the moment")
                    raise AssertionError(f"the gateway refused: {frame}")

    def _note_watermark(self, frame: dict[str, Any]) -> None:
        if frame["epoch"] == self.epoch and frame["offset"] > self.offset:
            raise OffsetGap(f"at {self.offset}, then came the watermark of {frame['offset']}")
        if frame["epoch"] == self.epoch:
            self.watermark = frame
            self._proven_at = time.monotonic() - max(0, frame["published_at"] - frame["at"]) / 1000

    def _patch(self, publication: dict[str, Any]) -> None:
        if publication["epoch"] != self.epoch or publication["offset"] != self.offset + 1:
            raise OffsetGap(f"at {self.epoch}:{self.offset}, then came {publication['epoch']}:{publication['offset']}")
        self.offset = publication["offset"]
        self.publications += 1
        state = publication["state"]
        if publication["kind"] == "student":
            known = self.students.get(state["student_id"], {})
            if state["version"] > known.get("version", -1):
                # Publications contain no names and no ways of joining; these are in the snapshot only.
                of_person = {key: known[key] for key in ("username", "display_name", "joined") if key in known}
                self.students[state["student_id"]] = state | of_person
        elif publication["kind"] == "help":
            if state["version"] > self.help.get(state["request_id"], {}).get("version", -1):
                self.help[state["request_id"]] = state
        elif publication["kind"] == "course" and state["version"] > self.counters.get("version", -1):
            self.counters = state


def _differences(what: str, shown: dict[str, Row], fresh: dict[str, Row]) -> list[str]:
    found = [f"{what} {key}: shown although it does not exist" for key in shown.keys() - fresh.keys()]
    found += [f"{what} {key}: not shown" for key in fresh.keys() - shown.keys()]
    for key in shown.keys() & fresh.keys():
        old, new = shown[key], fresh[key]
        fields = [name for name in old.keys() | new.keys() if old.get(name) != new.get(name)]
        if fields:
            found.append(f"{what} {key}: " + ", ".join(f"{name} {old.get(name)} != {new.get(name)}" for name in fields))
    return sorted(found)
