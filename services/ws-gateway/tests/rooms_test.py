"""Rooms under any interleaving of publications, losses, subscriptions and slow histories: never a hole, never a double."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_monitor_core.publications import Publication, Snapshot
from cell_monitor_core.storage.ports import Draft, Recovery, StoreUnavailable
from cell_monitor_gateway import rooms as module
from cell_monitor_gateway.protocol import CloseCode
from cell_monitor_gateway.rooms import Rooms
from cell_monitor_testing.memory_broker import MemoryBroker

CHANNEL = "course:c1"


class SlowBroker:
    """A broker whose answers take some turns of the loop, and which may be away."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(history_size=40)
        self.delays: list[int] = []
        self.away = False

    async def _wait(self) -> None:
        for _ in range(self.delays.pop(0) if self.delays else 0):
            await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable("away")

    async def recover(self, channel: str, epoch: str, offset: int, *, limit: int) -> Recovery:
        await self._wait()
        recovery = await self.broker.recover(channel, epoch, offset, limit=limit)
        await self._wait()
        return recovery

    async def position(self, channel: str) -> Snapshot:
        await self._wait()
        snapshot = await self.broker.position(channel)
        await self._wait()
        return snapshot


class FakeWriter:
    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.waiting = 0

    def backlog(self) -> int:
        return self.waiting

    def write(self, frame: bytes) -> None:
        start = {126: 4, 127: 10}.get(frame[1], 2)
        self.peer.take(json.loads(frame[start:])["publications"])


class Peer:
    """A connection and the client behind it in one."""

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self.writer = FakeWriter(self)
        self.epoch = ""
        self.offset = 0
        self.subscribed = False
        self.closed: CloseCode | None = None
        self.room: Any = None

    def take(self, publications: list[dict[str, Any]]) -> None:
        assert self.subscribed, "a frame before the answer, or after the end"
        for publication in publications:
            assert (publication["epoch"], publication["offset"]) == (self.epoch, self.offset + 1)
            self.offset += 1

    async def subscribe(self, epoch: str | None, offset: int) -> None:
        self.room = self.rooms.room(CHANNEL)
        try:
            recovery, encoded = await self.room.join(self, epoch, offset)
        except StoreUnavailable:
            return
        if self.closed is not None:
            self.room.leave(self)
            return
        if not recovery.recovered:
            assert encoded == []
            return
        self.subscribed = True
        self.epoch = recovery.epoch
        self.offset = recovery.offset - len(encoded) if epoch is None else offset
        self.take([json.loads(one) for one in encoded])
        assert self.offset == recovery.offset

    def close(self, code: CloseCode, *, reconnect_after_ms: int = 0) -> None:
        if self.closed is None:
            self.closed = code
            self.subscribed = False
            if self.room is not None:
                self.room.leave(self)

    def leave(self) -> None:
        self.subscribed = False
        if self.room is not None:
            self.room.leave(self)


def make_rooms(broker: Any, **options: Any) -> Rooms:
    return Rooms(broker, partitions=8, window=options.pop("window", 0), max_backlog=1000, **options)


def draft(version: int) -> Draft:
    return Draft("student", "s", version, b"{}")


TURNS = st.integers(0, 4)
STEPS = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(st.just("publish"), st.booleans()),
            # How far back, and how many turns the history takes before and after it is read.
            st.tuples(st.just("join"), st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 5))),
            st.tuples(st.just("leave"), st.integers(0, 3)),
            st.tuples(st.just("check"), st.integers(0, 4)),
            st.tuples(st.just("forget"), st.just(0)),
        ),
        TURNS,
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_no_interleaving_makes_a_hole_or_a_double(steps: list[tuple[tuple[str, Any], int]]) -> None:
    asyncio.run(interleave(steps))


async def interleave(steps: list[tuple[tuple[str, Any], int]]) -> None:
    # Frames are written by callbacks of the loop, whose exceptions would only be logged.
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    broker = SlowBroker()
    rooms = make_rooms(broker)
    peers: list[Peer] = []
    joining: list[asyncio.Task[None]] = []
    version = 0
    for (step, argument), turns in steps:
        if step == "publish":
            version += 1
            before = await broker.broker.position(CHANNEL)
            await broker.broker.publish(CHANNEL, [draft(version)])
            if argument:
                found = await broker.broker.recover(CHANNEL, before.epoch, before.offset, limit=10)
                rooms.take(found.publications[0])
        elif step == "join":
            back, before_reading, after_reading = argument
            peer = Peer(rooms)
            peers.append(peer)
            position = await broker.broker.position(CHANNEL)
            broker.delays[:] = [before_reading, after_reading]
            epoch = None if back == 4 else position.epoch
            joining.append(asyncio.create_task(peer.subscribe(epoch, max(position.offset - back, 0))))
        elif step == "leave":
            if argument < len(peers):
                peers[argument].leave()
        elif step == "check":
            broker.delays[:] = [argument, argument]
            for room in rooms.all():
                room.resync()
        else:
            await broker.broker.forget(CHANNEL)
        for _ in range(turns):
            await asyncio.sleep(0)
    await asyncio.gather(*joining)
    top = await broker.broker.position(CHANNEL)
    # The check that the gateway makes every ten seconds finds whatever is missing.
    for _ in range(3):
        for room in rooms.all():
            room.resync()
        for _ in range(30):
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
    assert not faults
    for peer in peers:
        if peer.subscribed:
            assert (peer.epoch, peer.offset) == (top.epoch, top.offset)
        else:
            assert peer.closed in {None, CloseCode.INSUFFICIENT_STATE}
    for peer in peers:
        peer.leave()
    assert len(rooms) == 0


def publication(offset: int, epoch: str) -> Publication:
    import msgspec

    return Publication(CHANNEL, epoch, offset, "student", msgspec.Raw(b"{}"))


async def test_a_slow_connection_is_closed_and_the_others_get_their_frame() -> None:
    broker = SlowBroker()
    rooms = make_rooms(broker)
    slow, quick = Peer(rooms), Peer(rooms)
    for peer in (slow, quick):
        await peer.subscribe(None, 0)
    slow.writer.waiting = 1001
    rooms.take(publication(1, quick.epoch))
    await asyncio.sleep(0.001)
    assert slow.closed is CloseCode.SLOW
    assert quick.offset == 1


async def test_subscribers_are_not_left_in_the_dark_when_positions_cannot_be_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "UNVERIFIED_SECONDS", 0.0)
    broker = SlowBroker()
    rooms = make_rooms(broker)
    peer = Peer(rooms)
    await peer.subscribe(None, 0)
    broker.away = True
    room = rooms.room(CHANNEL)
    while peer.closed is None:
        room.resync()
        await asyncio.sleep(0.001)
    assert peer.closed is CloseCode.INSUFFICIENT_STATE


async def test_a_short_outage_of_the_store_closes_nobody() -> None:
    broker = SlowBroker()
    rooms = make_rooms(broker)
    peer = Peer(rooms)
    await peer.subscribe(None, 0)
    broker.away = True
    rooms.room(CHANNEL).resync()
    await asyncio.sleep(0.001)
    broker.away = False
    await broker.broker.publish(CHANNEL, [draft(1)])
    rooms.room(CHANNEL).resync()
    while peer.offset == 0:
        await asyncio.sleep(0.001)
    assert peer.closed is None


async def test_a_history_of_too_many_bytes_is_refused_whole() -> None:
    broker = SlowBroker()
    rooms = make_rooms(broker, recovery_bytes=500)
    start = await broker.broker.position(CHANNEL)
    for version in range(1, 11):
        await broker.broker.publish(CHANNEL, [draft(version)])
    peer = Peer(rooms)
    await peer.subscribe(start.epoch, 0)
    assert not peer.subscribed
    assert len(rooms) == 0
    await peer.subscribe(start.epoch, 9)
    assert (peer.subscribed, peer.offset) == (True, 10)
