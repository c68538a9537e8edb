"""Hazard: a session that is slow, silent, expired or closing keeps its socket or its subscriptions."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.roles import Role
from cell_monitor_core.auth.tokens import Claims
from cell_monitor_gateway.channel import ChannelLimits
from cell_monitor_gateway.drain import Drain
from cell_monitor_gateway.hub import Hub
from cell_monitor_gateway.presence import PresenceReporter
from cell_monitor_gateway.protocol import CloseCode
from cell_monitor_gateway.session import Session, SessionLimits
from cell_monitor_testing.model_broker import CHANNEL, DeferredHistory, ModelBroker

LIMITS = SessionLimits(
    max_subscriptions=5,
    max_backlog_bytes=1000,
    requests_per_s=20,
    request_burst=60,
    ping_interval_s=25,
    pong_timeout_s=10,
    connect_timeout_s=10,
)


class Writer:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.waiting = 0
        self.frames: list[dict[str, Any]] = []
        self.closed: list[CloseCode] = []
        self.aborted = 0

    def backlog(self) -> int:
        return self.waiting

    def write(self, frame: bytes) -> None:
        self.frames.append(json.loads(frame[{126: 4, 127: 10}.get(frame[1], 2) :]))

    def close(self, code: CloseCode, reconnect_after_ms: int | None) -> None:
        self.closed.append(code)

    def abort(self) -> None:
        self.aborted += 1

    def release(self) -> None:
        pass


class Verifier:
    """An authenticator to whom a token is the id of its person."""

    def __init__(self, lifetime: float = 600) -> None:
        self.lifetime = lifetime
        self.revoked: set[str] = set()

    async def verify(self, token: str) -> Claims:
        now = time.time()
        return Claims(
            iss="cell-monitor",
            sub=token,
            aud=("gateway",),
            iat=int(now),
            exp=int(now + self.lifetime),
            jti="x",
            grant=Grant.SESSION,
            courses={"c1": Role.INSTRUCTOR},
            scopes=(),
            admin=False,
        )

    def is_revoked(self, claims: Claims) -> bool:
        return claims.sub in self.revoked


class NoPresence:
    """What presence is reported to."""

    def __init__(self) -> None:
        self.refreshed: list[tuple[str, list[str]]] = []
        self.left: list[tuple[str, list[str]]] = []

    async def refresh(self, channel: str, connections: list[str]) -> None:
        self.refreshed.append((channel, connections))

    async def leave(self, channel: str, connections: list[str]) -> None:
        self.left.append((channel, connections))


class Connected:
    """A session beside a hub whose reads the test answers."""

    def __init__(self, *, lifetime: float = 600) -> None:
        self.history = DeferredHistory(ModelBroker(recoverable=4))
        limits = ChannelLimits(partitions=8, window_s=0, max_backlog_bytes=1000, recovery_publications=4)
        self.hub = Hub(self.history, limits)
        self.presence = NoPresence()
        self.reporter = PresenceReporter(self.presence, self.hub, flush_s=0, refresh_s=0)  # type: ignore[arg-type]
        self.hub.add_listener(self.reporter)
        self.writer = Writer()
        self.session = Session(
            self.writer,
            authenticator=Verifier(lifetime),  # type: ignore[arg-type]
            hub=self.hub,
            presence=self.reporter,
            limits=LIMITS,
        )

    async def connect(self) -> None:
        await self.session.receive('{"type":"connect","id":1,"token":"7d1e5bd3-4d6c-4f8a-9d6a-8a2b7e7d7a11"}')
        assert self.writer.frames.pop()["type"] == "connected"

    async def begin_to_subscribe(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.session.receive(f'{{"type":"subscribe","id":2,"channel":"{CHANNEL}"}}'))
        async with asyncio.timeout(60):
            while not self.history.reads:
                await asyncio.sleep(0)
        return task

    async def subscribe(self) -> None:
        task = await self.begin_to_subscribe()
        self.history.reads[0].deliver()
        await task
        assert self.writer.frames.pop()["type"] == "subscribed"


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_session_that_closes_while_it_subscribes_does_not_stay_subscribed() -> None:
    connected = Connected()
    await connected.connect()
    subscribing = await connected.begin_to_subscribe()
    connected.session.close(CloseCode.SHUTDOWN)
    connected.history.reads[0].deliver()
    await subscribing
    assert len(connected.hub) == 0
    assert (connected.writer.frames, connected.writer.closed) == ([], [CloseCode.SHUTDOWN])
    await connected.reporter.flush()
    assert connected.presence.refreshed == []


async def test_a_connection_that_ends_while_it_subscribes_does_not_stay_subscribed() -> None:
    connected = Connected()
    await connected.connect()
    subscribing = await connected.begin_to_subscribe()
    subscribing.cancel()
    await asyncio.gather(subscribing, return_exceptions=True)
    connected.session.end()
    assert len(connected.hub) == 0


async def test_a_close_leaves_all_channels_at_once_and_is_announced_once() -> None:
    connected = Connected()
    await connected.connect()
    await connected.subscribe()
    connected.session.close(CloseCode.SLOW)
    connected.session.close(CloseCode.SHUTDOWN)
    assert (len(connected.hub), connected.writer.closed) == (0, [CloseCode.SLOW])


async def test_a_peer_that_leaves_a_close_unanswered_is_dropped_once() -> None:
    connected = Connected()
    connected.session.close(CloseCode.SLOW)
    connected.session.check_deadlines(now() + 5)
    assert connected.writer.aborted == 0
    connected.session.check_deadlines(now() + 15)
    connected.session.check_deadlines(now() + 30)
    assert (connected.writer.aborted, connected.session.aborted) == (1, True)


async def test_a_session_without_connect_in_time_is_closed() -> None:
    connected = Connected()
    connected.session.check_deadlines(now() + 9)
    assert connected.writer.closed == []
    connected.session.check_deadlines(now() + 11)
    assert connected.writer.closed == [CloseCode.STALE]


async def test_a_session_whose_token_ends_is_closed() -> None:
    connected = Connected(lifetime=-1)
    await connected.connect()
    connected.session.check_deadlines(now())
    assert connected.writer.closed == [CloseCode.EXPIRED]


@pytest.mark.parametrize(("backlog", "closed"), [(1000, []), (1001, [CloseCode.SLOW])])
async def test_a_session_with_too_large_a_backlog_is_closed_though_nothing_is_published(
    backlog: int, closed: list[CloseCode]
) -> None:
    connected = Connected()
    await connected.connect()
    connected.writer.waiting = backlog
    connected.session.check_deadlines(now())
    assert connected.writer.closed == closed


async def test_a_ping_without_any_frame_in_time_closes() -> None:
    connected = Connected()
    await connected.connect()
    began = now()
    connected.session.check_deadlines(began + 24)
    assert connected.writer.frames == []
    connected.session.check_deadlines(began + 26)
    assert connected.writer.frames == [{"type": "ping"}]
    connected.session.check_deadlines(began + 35)
    assert connected.writer.closed == []
    connected.session.check_deadlines(began + 37)
    assert connected.writer.closed == [CloseCode.NO_PONG]


async def test_any_frame_answers_a_ping() -> None:
    connected = Connected()
    await connected.connect()
    began = now()
    connected.session.check_deadlines(began + 26)
    await connected.session.receive(f'{{"type":"unsubscribe","id":3,"channel":"{CHANNEL}"}}')
    connected.session.check_deadlines(began + 37)
    assert connected.writer.closed == []


async def test_presence_of_those_who_stay_is_refreshed_before_it_expires() -> None:
    connected = Connected()
    await connected.connect()
    await connected.subscribe()
    reporting = asyncio.create_task(connected.reporter.run())
    async with asyncio.timeout(60):
        while len(connected.presence.refreshed) < 4:
            await asyncio.sleep(0)
    reporting.cancel()
    assert {(channel, *ids) for channel, ids in connected.presence.refreshed} == {(CHANNEL, connected.session.id)}
    assert connected.presence.left == []


async def test_a_drain_closes_its_connections_in_batches() -> None:
    sessions = [Connected().session for _ in range(100)]
    started: list[str] = []
    drain = Drain(sessions, seconds=3600, on_start=lambda: started.append("once"))
    drain.start()
    drain.start()
    await asyncio.sleep(0)
    # The first batch; the others wait for a tenth of a second each.
    assert sum(session.closing for session in sessions) == 25
    assert (started, drain.started) == (["once"], True)
    assert drain._task is not None
    drain._task.cancel()
    await asyncio.gather(drain._task, return_exceptions=True)
