"""A dashboard without a screen: it does with snapshots and frames what the browser's dashboard does.

It fetches the course's snapshot, subscribes from its position, patches its rows by version, checks that offsets have
no holes, and comes back as the close codes say. What it holds at the end must equal a fresh snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, Final, Self

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

__all__ = ["LiveClient", "OffsetHole", "SentAway"]

_SUBPROTOCOL: Final = Subprotocol("cell-monitor.v1")
_FOR_GOOD: Final = range(3500, 4000)
"""Close codes after which a dashboard does not come back by itself."""
_ACTIVE: Final = frozenset({"open", "claimed"})
_FRAME_BYTES: Final = 16 * 1024 * 1024

Row = dict[str, Any]


class OffsetHole(AssertionError):  # noqa: N818 - says what happened
    """The gateway skipped publications without saying so: the one thing it must never do."""


class SentAway(AssertionError):  # noqa: N818 - says what happened
    """The gateway closed with a code that forbids to come back, to a client that did nothing wrong."""


class LiveClient:
    """Follows one course until ``stop``, whatever breaks meanwhile. Use as ``async with``.

    Attributes:
        students: rows by student id; ``help``: requests by id; ``counters``: the course's, all as a dashboard has them.
        live: set while it is subscribed.
        closes: close codes of its connections so far, 1006 where one just broke.
        reconnects: connections lost or refused; ``recoveries``: subscriptions that recovered all that was missed;
            ``snapshots``: fetched; ``publications``: patched in.
    """

    def __init__(
        self, *, api: str, gateway: str | Sequence[str], course_id: str, token: Callable[[], Awaitable[str]]
    ) -> None:
        """Describe the client.

        Args:
            api: base URL of the API.
            gateway: WebSocket URL of the gateway, ``/ws`` included; of several it tries the next each time.
            course_id: the course to follow.
            token: returns a fresh access token for the audiences ``api`` and ``gateway``.
        """
        self._api = api
        self._gateways = [gateway] if isinstance(gateway, str) else list(gateway)
        self._course_id = course_id
        self._token = token
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

    async def __aenter__(self) -> Self:
        self._http = httpx.AsyncClient(base_url=self._api, timeout=10, trust_env=False)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Leave; raise what went wrong, an ``OffsetHole`` above all."""
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
            httpx.HTTPError: the API is away or refuses.
        """
        assert self._http is not None
        answer = await self._http.get(
            f"/api/v1/courses/{self._course_id}/state", headers={"Authorization": f"Bearer {await self._token()}"}
        )
        answer.raise_for_status()
        return dict(answer.json())

    def differences(self, snapshot: dict[str, Any]) -> list[str]:
        """Say where the screen and a snapshot disagree; empty where they show the same."""
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
        except Exception as error:  # noqa: BLE001 - kept for whoever awaits the client
            self.live.clear()
            self._failure = error

    def _note_close(self, closed: ConnectionClosed) -> None:
        code = closed.rcvd.code if closed.rcvd is not None else 1006
        self.closes.append(code)
        if code in _FOR_GOOD:
            raise SentAway(f"closed with {code}: {closed.rcvd and closed.rcvd.reason}")

    async def _follow(self) -> bool:
        """Follow one connection to its end; return True where a snapshot is needed first.

        Raises:
            ConnectionClosed, OSError, InvalidHandshake: how the connection ended, or why there is none.
        """
        channel = f"course:{self._course_id}"
        self.gateway = self._gateways[next(self._attempts) % len(self._gateways)]
        async with connect(
            self.gateway, subprotocols=[_SUBPROTOCOL], open_timeout=5, proxy=None, max_size=_FRAME_BYTES
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
        async with asyncio.timeout(10):
            while True:
                frame = json.loads(await socket.recv())
                if frame["type"] == kind:
                    return dict(frame)
                if frame["type"] == "error":
                    if frame["error"]["type"] == "unavailable":
                        raise ConnectionError("the gateway cannot tell at the moment")
                    raise AssertionError(f"the gateway refused: {frame}")

    def _patch(self, publication: dict[str, Any]) -> None:
        if publication["epoch"] != self.epoch or publication["offset"] != self.offset + 1:
            raise OffsetHole(f"at {self.epoch}:{self.offset}, then came {publication['epoch']}:{publication['offset']}")
        self.offset = publication["offset"]
        self.publications += 1
        state = publication["state"]
        if publication["kind"] == "student":
            known = self.students.get(state["student_id"], {})
            if state["version"] > known.get("version", -1):
                # Publications carry no names: those come with the snapshot.
                names = {key: known[key] for key in ("username", "display_name") if key in known}
                self.students[state["student_id"]] = state | names
        elif publication["kind"] == "help":
            if state["version"] > self.help.get(state["request_id"], {}).get("version", -1):
                self.help[state["request_id"]] = state
        elif publication["kind"] == "course" and state["version"] > self.counters.get("version", -1):
            self.counters = state


def _differences(what: str, shown: dict[str, Row], fresh: dict[str, Row]) -> list[str]:
    found = [f"{what} {key}: shown although it is gone" for key in shown.keys() - fresh.keys()]
    found += [f"{what} {key}: not shown" for key in fresh.keys() - shown.keys()]
    for key in shown.keys() & fresh.keys():
        old, new = shown[key], fresh[key]
        fields = [name for name in old.keys() | new.keys() if old.get(name) != new.get(name)]
        if fields:
            found.append(f"{what} {key}: " + ", ".join(f"{name} {old.get(name)} != {new.get(name)}" for name in fields))
    return sorted(found)
