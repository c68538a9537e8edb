"""The gateway's metrics, as plain integers that the metrics catalogue reads when it is scraped."""

from __future__ import annotations

__all__ = ["GatewayMetrics"]


class _Number:
    def __init__(self) -> None:
        self.value = 0
        self._children: dict[tuple[str, ...], _Number] = {}

    def inc(self, amount: int = 1) -> None:
        self.value += amount

    def dec(self, amount: int = 1) -> None:
        self.value -= amount

    def labels(self, *values: str) -> _Number:
        return self._children.setdefault(values, _Number())


class GatewayMetrics:
    """What a gateway counts."""

    def __init__(self) -> None:
        self.connections = _Number()
        self.subscriptions = _Number()
        self.publications = _Number()
        self.frames = _Number()
        self.deliveries = _Number()
        self.gaps = _Number()
        self.positions_lost = _Number()
        self.recoveries = _Number()
        self.closes = _Number()
