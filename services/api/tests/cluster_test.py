"""Everything that the API does with Redis works on a Cluster, too."""

from __future__ import annotations

import pytest

PASSWORD = "correct horse battery"


@pytest.fixture
async def site(make_site, valkey_cluster):
    async with make_site(redis_url=valkey_cluster, test_mode=True, api_sign_in_per_account=2) as site:
        yield site


async def test_courses_on_different_masters_are_fed_by_one_request(site, make_event):
    courses = [f"c{number}" for number in range(12)]
    for course_id in courses:
        await site.course(course_id, tim="student")
    events = [make_event(course=course_id) for course_id in courses for _ in range(3)]
    answer = await site.send("tim", *events)
    assert {result["status"] for result in answer.json()["results"]} == {"accepted"}
    for index, course_id in enumerate(courses):
        assert await site.queued_ids(course_id) == sorted(
            event["event_id"] for event in events[3 * index : 3 * index + 3]
        )


async def test_sign_in_probes_snapshot_and_test_mode(site, make_event):
    await site.course("c1", ivy="instructor", ann="student")
    await site.person("ivy", password=PASSWORD)

    async def login(password):
        body = {"username": "ivy", "password": password}
        return (await site.client.post("/api/v1/auth/login", json=body)).status_code

    assert [await login(PASSWORD), await login("wrong one"), await login("wrong one"), await login(PASSWORD)] == [
        200, 401, 401, 429,
    ]  # fmt: skip
    assert (await site.client.get("/readyz")).status_code == 200
    assert (await site.client.get("/api/v1/courses/c1/state", headers=site.bearer("ivy"))).status_code == 200
    event = make_event()
    url = "/api/v1/test/events/run-1"
    sent = await site.client.post(url, headers=site.sender("ann"), json={"events": [event]})
    assert sent.json()["results"][0]["status"] == "accepted"
    [stages] = (await site.client.get(url, headers=site.sender("ann"))).json()["events"]
    assert stages["event_id"] == event["event_id"]
