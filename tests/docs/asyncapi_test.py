"""Hazard: the AsyncAPI document differs from the gateway and the event stream."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from cell_monitor_core import keys
from cell_monitor_testing import asyncapi

REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests/contract/golden"
DOCUMENT = yaml.safe_load((REPOSITORY / "docs/dev/asyncapi.yaml").read_text(encoding="utf-8"))


def validator(name):
    schema = DOCUMENT["components"]["schemas"][name]
    return jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def golden(name):
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def message_named(name, side):
    """Return the message of a frame's type; presence is a request and a reply."""
    found = [message["title"] for message in DOCUMENT["components"]["messages"].values() if message["name"] == name]
    return found[0 if side == "client" else -1]


def test_document_equals_the_generated_one():
    committed = (REPOSITORY / "docs/dev/asyncapi.yaml").read_text(encoding="utf-8")
    assert committed == asyncapi.render(), "run make generate"


@pytest.mark.parametrize("side", ["client", "server"])
def test_golden_frames_match_the_documents_schemas(side):
    frames = golden("websocket_frames.json")[side]
    for frame in frames:
        validator(message_named(frame["type"], side)).validate(frame)
    documented = {
        message["name"]
        for message in DOCUMENT["components"]["messages"].values()
        if message["contentType"] == "application/json" and message["title"] != "Publication"
    }
    everything = golden("websocket_frames.json")
    assert documented == {frame["type"] for frame in everything["client"] + everything["server"]}


def test_golden_publications_match_the_documents_schema():
    for publication in golden("publications.json"):
        validator("Publication").validate(publication)
    broken = golden("publications.json")[0]
    del broken["epoch"]
    assert not validator("Publication").is_valid(broken)


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_can_be_resolved():
    found = set(references(DOCUMENT))
    assert len(found) > 20
    for reference in found:
        place = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_addresses_are_the_keys_of_the_code():
    channels = DOCUMENT["channels"]
    assert channels["events"]["address"].replace("{partition}", keys.partition_tag(3)) == keys.events_stream(3)
    assert channels["publications"]["address"].replace(
        "{partition}", keys.partition_tag(3)
    ) == keys.publication_channel(3)
