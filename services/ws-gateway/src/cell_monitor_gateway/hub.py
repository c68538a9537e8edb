"""The channels that have subscribers on this gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cell_monitor_core.publications import Publication, Watermark
from cell_monitor_gateway import metrics
from cell_monitor_gateway.channel import Channel, ChannelLimits, History, Subscription
from cell_monitor_gateway.protocol import Subscriber

__all__ = ["Hub", "MembershipListener"]


class MembershipListener(Protocol):
    """What is notified of who follows which channel; its methods return at once and raise nothing."""

    def on_join(self, channel: str, subscriber_id: str) -> None:
        """Take note that a subscriber follows a channel now."""
        ...

    def on_leave(self, channel: str, subscriber_id: str) -> None:
        """Take note that a subscriber follows a channel no longer."""
        ...


class Hub:
    """Channels by name; one exists for as long as it has subscribers, or one that reads its history.

    Args:
        history: where the channels' publications can be read again.
        limits: bounds of every channel.
    """

    def __init__(self, history: History, limits: ChannelLimits) -> None:
        self._history = history
        self._limits = limits
        self._channels: dict[str, Channel] = {}
        self._listeners: list[MembershipListener] = []

    def __len__(self) -> int:
        return len(self._channels)

    def add_listener(self, listener: MembershipListener) -> None:
        """Call a listener about every subscriber that joins or leaves from now on."""
        self._listeners.append(listener)

    def channels(self) -> list[Channel]:
        """Return every channel that has subscribers."""
        return list(self._channels.values())

    def members(self) -> dict[str, list[str]]:
        """Return the ids of those who follow each channel."""
        return {
            name: [subscriber.id for subscriber in channel.subscribers.following()]
            for name, channel in self._channels.items()
        }

    def deliver(self, publication: Publication) -> None:
        """Hand a live publication to its channel, if anyone follows it here."""
        channel = self._channels.get(publication.channel)
        if channel is not None:
            channel.deliver(publication)

    def deliver_watermark(self, watermark: Watermark) -> None:
        """Hand a watermark to its channel, if anyone follows it here."""
        channel = self._channels.get(watermark.channel)
        if channel is not None:
            channel.deliver_watermark(watermark)

    def check_positions(self, partitions: Sequence[int]) -> None:
        """Compare the position of every channel of some partitions with the broker's."""
        for channel in self.channels():
            if channel.partition in partitions:
                channel.check_position()

    async def subscribe(self, subscriber: Subscriber, name: str, epoch: str | None, offset: int) -> Subscription:
        """Let a subscriber follow a channel that it does not follow yet; see ``Channel.subscribe``.

        Raises:
            StoreUnavailable: the broker is unavailable; the subscriber does not follow the channel.
        """
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel(name, self._history, self._limits, on_empty=self._forget)
        subscription = await channel.subscribe(subscriber, epoch, offset)
        if subscription.recovered:
            metrics.SUBSCRIPTIONS.inc()
            for listener in self._listeners:
                listener.on_join(name, subscriber.id)
        return subscription

    def unsubscribe(self, subscriber: Subscriber, name: str) -> None:
        """Let a subscriber that follows a channel follow it no longer."""
        metrics.SUBSCRIPTIONS.dec()
        for listener in self._listeners:
            listener.on_leave(name, subscriber.id)
        channel = self._channels.get(name)
        if channel is not None:
            channel.unsubscribe(subscriber)

    def _forget(self, channel: Channel) -> None:
        if self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            channel.close()
