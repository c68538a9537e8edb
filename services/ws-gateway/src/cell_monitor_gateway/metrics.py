"""The gateway's part of the metrics catalogue, its labelled children bound once."""

from __future__ import annotations

from typing import Final

from cell_monitor_core.telemetry import metrics
from cell_monitor_core.telemetry.instruments import Counter
from cell_monitor_gateway.protocol import CloseCode

__all__ = [
    "BYTES",
    "CLOSES",
    "CONNECTIONS",
    "DELIVERIES",
    "EVENT_FRAME",
    "FRAMES",
    "GAPS_FILLED",
    "GAPS_LOST",
    "OPENED",
    "PUBLICATIONS",
    "RECOVERIES_FRESH",
    "RECOVERIES_RECOVERED",
    "RECOVERIES_REFUSED",
    "REFUSED",
    "SUBSCRIPTIONS",
    "WATERMARKS",
]

CONNECTIONS: Final = metrics.GATEWAY_CONNECTIONS
OPENED: Final = metrics.GATEWAY_CONNECTIONS_OPENED
REFUSED: Final = metrics.GATEWAY_REFUSED
SUBSCRIPTIONS: Final = metrics.GATEWAY_SUBSCRIPTIONS
FRAMES: Final = metrics.GATEWAY_FRAMES
BYTES: Final = metrics.GATEWAY_BYTES
PUBLICATIONS: Final = metrics.GATEWAY_PUBLICATIONS
DELIVERIES: Final = metrics.GATEWAY_DELIVERIES
EVENT_FRAME: Final = metrics.EVENT_FRAME_SECONDS
WATERMARKS: Final = metrics.GATEWAY_WATERMARKS
RECOVERIES_FRESH: Final = metrics.GATEWAY_RECOVERIES.labels("fresh")
RECOVERIES_RECOVERED: Final = metrics.GATEWAY_RECOVERIES.labels("recovered")
RECOVERIES_REFUSED: Final = metrics.GATEWAY_RECOVERIES.labels("refused")
GAPS_FILLED: Final = metrics.GATEWAY_GAPS.labels("filled")
GAPS_LOST: Final = metrics.GATEWAY_GAPS.labels("lost")
CLOSES: Final[dict[CloseCode, Counter]] = {code: metrics.GATEWAY_CLOSES.labels(int(code)) for code in CloseCode}
