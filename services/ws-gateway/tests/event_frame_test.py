"""Hazard: the time from event to screen, which alerts depend on, is not measured."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import httpx

from cell_monitor_core.storage.ports import Draft


async def observed(gateway: Any) -> tuple[float, float]:
    """Return count and sum of the metric."""
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        text = (await http.get("/metrics")).text
    [count] = re.findall(r"^cell_monitor_event_frame_seconds_count (\S+)", text, re.MULTILINE)
    [total] = re.findall(r"^cell_monitor_event_frame_seconds_sum (\S+)", text, re.MULTILINE)
    return float(count), float(total)


async def test_time_from_receipt_to_frame_is_measured_where_an_event_was_the_cause(
    start_gateway: Any, connect_client: Any, publisher: Any, valkey: str
) -> None:
    gateway = await start_gateway(valkey)
    client = await connect_client(gateway)
    reply = await client.request("subscribe", channel="course:c1")
    assert reply["type"] == "subscribed"
    received_at = int(time.time() * 1000) - 5000
    # The last has no event as its cause: staff claimed a request.
    drafts = [
        Draft("student", "s1", 1, b'{"student_id":"s1"}', received_at=received_at),
        Draft("student", "s2", 1, b'{"student_id":"s2"}', received_at=received_at),
        Draft("help", "h1", 1, b'{"request_id":"h1"}'),
    ]
    assert await publisher.broker.publish("course:c1", drafts) == 3
    async with asyncio.timeout(60):
        while (await observed(gateway))[0] < 2:
            await asyncio.sleep(0.02)
    count, total = await observed(gateway)
    assert count == 2
    assert 10 <= total < 60
