"""Test events pass the same pipeline, apart from everything that counts."""

from __future__ import annotations

import json

import pytest

from cell_monitor_core import keys
from cell_monitor_core.channels import partition_of, test_channel
from cell_monitor_core.records import decode_entry
from cell_monitor_core.telemetry import metrics

URL = "/api/v1/test/events/run-1"


@pytest.fixture
async def testing(make_site):
    async with make_site(test_mode=True) as site:
        await site.course("c1", ann="student")
        yield site


async def test_test_events_are_marked_and_belong_to_no_course(testing, make_event):
    event = make_event(course="elsewhere")
    answer = await testing.client.post(URL, headers=testing.sender("ann"), json={"events": [event, {"bad": 1}]})
    assert answer.status_code == 200
    assert [result["status"] for result in answer.json()["results"]] == ["accepted", "rejected"]
    assert await testing.queued("c1") == []
    partition = partition_of(test_channel("run-1"), testing.settings.partitions)
    [(_, fields)] = await testing.process.redis.xrange(keys.events_stream(partition))
    [record] = decode_entry(fields)
    assert (record.test_id, record.course_id, json.loads(record.event)) == ("run-1", "", event)
    progress = (await testing.client.get(URL, headers=testing.sender("ann"))).json()
    [stages] = progress["events"]
    assert progress["test_id"] == "run-1"
    assert stages["event_id"] == event["event_id"]
    assert stages["received_at"].endswith("Z")
    assert (stages["postgres_at"], stages["timeseries_at"], stages["published_at"]) == (None, None, None)


async def test_each_stage_is_shown(testing, make_event):
    event = make_event()
    await testing.client.post(URL, headers=testing.sender("ann"), json={"events": [event]})
    partition = partition_of(test_channel("run-1"), testing.settings.partitions)
    key = keys.test_progress(partition, "run-1", testing.ids["ann"].bytes)
    assert 0 < await testing.process.redis.ttl(key) <= 3600
    await testing.process.redis.hset(key, f"{event['event_id']}:postgres", "2026-04-01T09:00:00.000Z")
    await testing.process.redis.hset(key, f"{event['event_id']}:future-stage", "x")
    [stages] = (await testing.client.get(URL, headers=testing.sender("ann"))).json()["events"]
    assert stages["postgres_at"] == "2026-04-01T09:00:00.000Z"
    assert stages["timeseries_at"] is None


async def test_a_run_shows_its_senders_events_and_no_others(testing, make_event):
    await testing.course("c1", tim="student")
    event = make_event()
    for who in ("ann", "tim"):
        answer = await testing.client.post(URL, headers=testing.sender(who), json={"events": [event]})
        assert [result["status"] for result in answer.json()["results"]] == ["accepted"]
        progress = (await testing.client.get(URL, headers=testing.sender(who))).json()
        assert [stages["event_id"] for stages in progress["events"]] == [event["event_id"]]
    await testing.client.post(URL, headers=testing.sender("tim"), json={"events": [make_event()]})
    assert len((await testing.client.get(URL, headers=testing.sender("ann"))).json()["events"]) == 1


async def test_a_run_without_events_is_empty(testing):
    answer = await testing.client.get("/api/v1/test/events/other", headers=testing.sender("ann"))
    assert answer.json() == {"test_id": "other", "events": []}


@pytest.mark.parametrize("test_id", ["a b", "é", "x" * 64, "-a"])
async def test_ids_of_other_forms_are_refused(testing, test_id):
    answer = await testing.client.get(f"/api/v1/test/events/{test_id}", headers=testing.sender("ann"))
    assert answer.status_code == 422


async def test_a_flood_of_test_events_shows_in_the_metrics(make_site, make_event):
    async with make_site(test_mode=True, api_bucket_events=200, api_bucket_refill_per_s=0.01) as site:
        await site.course("c1", ann="student")
        limited = metrics.RATE_LIMITED.labels("ingest")
        before = limited.value
        body = {"events": [make_event() for _ in range(150)]}
        statuses = [(await site.client.post(URL, headers=site.sender("ann"), json=body)).status_code for _ in range(2)]
        assert statuses == [200, 429]
        assert limited.value - before == 1


async def test_the_scope_is_needed(testing, make_event):
    headers = testing.bearer("ann", "ingest", scopes=("events:write",))
    for method in ("POST", "GET"):
        answer = await testing.client.request(method, URL, headers=headers)
        assert answer.status_code == 403
        assert answer.json()["detail"][0]["type"] == "insufficient_scope"
