"""Hazard: dashboards miss publications when a gateway is terminated, as in an upgrade."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from cell_monitor_testing.traffic import class_traffic

pytestmark = [pytest.mark.resilience, pytest.mark.influxdb, pytest.mark.timeout(280)]


async def test_dashboards_move_to_another_gateway_in_the_middle_of_a_lesson(system: Any, until: Any) -> None:
    classroom = await system.classroom(students=6)
    leaving, staying = system.gateways
    events = [
        event
        for student in class_traffic(students=6, events=1500, course=classroom.course_id)
        for event in student.events
    ]
    async with system.client() as client, system.dashboards(classroom, number=30, gateways=(0, 1)) as screens:
        assert {screen.gateway for screen in screens} == {system.gateway_urls[0]}
        sender = system.sender(client, classroom.students[0])

        async def send() -> None:
            for start in range(0, len(events), 10):
                await sender.send(events[start : start + 10])

        sending = asyncio.create_task(send())
        try:

            async def following() -> bool:
                return all(screen.publications > 5 for screen in screens)

            await until(following, "every dashboard follows the lesson")
            leaving.signal(signal.SIGTERM)

            async def moved() -> bool:
                for screen in screens:
                    screen.check()
                return all(screen.live.is_set() and screen.gateway == system.gateway_urls[1] for screen in screens)

            await until(moved, "every dashboard is live on the other gateway")

            async def ended() -> bool:
                return not leaving.running

            await until(ended, "the gateway has exited")
            await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        await system.assert_stored_exactly(classroom.course_id, {event["event_id"] for event in events})
        await system.assert_screens_are_current(screens)
        # Closed with the code for a shutdown, and recovered without a second snapshot.
        assert [screen.closes for screen in screens] == [[3001]] * len(screens)
        assert [screen.snapshots for screen in screens] == [1] * len(screens)
    assert leaving.exit_code == 0
    assert staying.running
