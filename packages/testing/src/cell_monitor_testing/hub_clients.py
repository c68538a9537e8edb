"""A feed's source, a listener and clients of a gateway's hub; each client compares what it gets with a model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from cell_monitor_core.publications import Publication, Snapshot, Watermark
from cell_monitor_core.storage.ports import Recovery, StoreUnavailable
from cell_monitor_gateway.hub import Hub
from cell_monitor_gateway.protocol import CloseCode
from cell_monitor_testing.model_broker import CHANNEL, DeferredHistory, ModelBroker

__all__ = ["Client", "Members", "Source"]


class Source:
    """What the feed listens to; ``on_subscribed`` is the feed's."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Publication | Watermark] = asyncio.Queue()
        self.on_subscribed: Callable[[Sequence[int]], None] | None = None

    async def listen(
        self, partitions: Sequence[int], *, on_subscribed: Callable[[Sequence[int]], None] | None = None
    ) -> AsyncIterator[Publication | Watermark]:
        """Yield what the test puts into ``queue``."""
        assert on_subscribed is not None
        self.on_subscribed = on_subscribed
        on_subscribed(partitions)
        while True:
            yield await self.queue.get()


class Members:
    """A listener of the hub."""

    def __init__(self) -> None:
        self.now: set[str] = set()

    def on_join(self, channel: str, subscriber_id: str) -> None:
        """Note a subscriber that was not there."""
        assert channel == CHANNEL
        assert subscriber_id not in self.now
        self.now.add(subscriber_id)

    def on_leave(self, channel: str, subscriber_id: str) -> None:
        """Remove a subscriber that was there."""
        assert channel == CHANNEL
        self.now.remove(subscriber_id)


class Client:
    """A connection and the page behind it in one; checks every publication against the model."""

    def __init__(self, hub: Hub, model: ModelBroker, number: int) -> None:
        self.id = f"client-{number}"
        self.hub = hub
        self.model = model
        self.epoch = ""
        self.offset = 0
        self.subscribed = False
        self.frames = 0
        self.watermark = 0
        self.closed: CloseCode | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def subscribing(self) -> bool:
        """Whether the subscription has no answer yet."""
        return self.task is not None and not self.task.done()

    def backlog(self) -> int:
        """Return 0: the client takes everything at once."""
        return 0

    def write(self, frame: bytes) -> None:
        """Take a frame of publications or a watermark."""
        start = {126: 4, 127: 10}.get(frame[1], 2)
        message = json.loads(frame[start:])
        assert message["channel"] == CHANNEL
        assert self.subscribed, "a frame before the answer, or after the end"
        if message["type"] == "watermark":
            assert message["epoch"] == self.epoch
            assert message["offset"] <= self.offset, "a watermark before the publications that it counts"
            assert message["at"] > self.watermark, "an older watermark after a newer one"
            self.watermark = message["at"]
            return
        assert message["type"] == "publications"
        self.frames += 1
        self.take(message["publications"])

    def take(self, publications: list[dict[str, Any]]) -> None:
        """Compare publications with the model, each with the one after the last."""
        for publication in publications:
            made = self.model.log[self.epoch][self.offset]
            assert publication == {
                "channel": CHANNEL,
                "epoch": self.epoch,
                "offset": self.offset + 1,
                "kind": made.kind,
                "state": json.loads(bytes(made.state)),
            }
            self.offset += 1

    async def subscribe(self, history: DeferredHistory, position: Snapshot | None) -> Recovery | None:
        """Subscribe as a page does; return what the broker had answered, None if it did not."""
        epoch = None if position is None else position.epoch
        offset = 0 if position is None else position.offset
        try:
            answer = await self.hub.subscribe(self, CHANNEL, epoch, offset)
        except StoreUnavailable:
            return None
        found = history.last_of.pop(asyncio.current_task()).answer
        assert found is not None
        read = found if isinstance(found, Recovery) else Recovery(found.epoch, found.offset, True, [])
        # Recovered whenever that is possible, refused whole where it is not.
        assert answer.recovered == read.recovered
        assert answer.epoch == read.epoch
        if not answer.recovered:
            assert (answer.offset, answer.publications) == (read.offset, [])
            return read
        self.closed = None
        self.subscribed = True
        self.epoch = answer.epoch
        self.offset = offset if epoch is not None else answer.offset - len(answer.publications)
        assert epoch is not None or self.offset == read.offset
        self.take([json.loads(one) for one in answer.publications])
        assert self.offset == answer.offset >= read.offset
        return read

    def close(self, code: CloseCode, *, reconnect_after_ms: int = 0) -> None:
        """Be closed for the only reason that the hub may have, once."""
        assert self.closed is None
        assert 0 <= reconnect_after_ms <= 10_000
        assert code is CloseCode.INSUFFICIENT_STATE
        self.closed = code
        self.leave()

    def leave(self) -> None:
        """Unsubscribe."""
        if self.subscribed:
            self.subscribed = False
            self.hub.unsubscribe(self, CHANNEL)
