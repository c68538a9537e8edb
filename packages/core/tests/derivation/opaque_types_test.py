"""Hazard: an upgrade overlooks opaque facts that it could derive, or tries those that it cannot."""

from cell_monitor_core.derivation.opaque_types import is_opaque, known_opaque_types, opaque_type, unreadable_type
from cell_monitor_core.events.types import EVENT_TYPES, OpaqueEvent

HEARTBEAT = EVENT_TYPES["heartbeat"]
EVENT = OpaqueEvent(
    event_id="019d4835-c9fb-7006-8a00-5e1f00000001",
    type="cell_moved",
    schema_version=3,
    occurred_at="2026-04-01T09:00:00.123Z",
    session_id="0190a0a0-0000-4000-8000-000000000000",
    seq=1,
)


def test_the_two_newest_versions_of_each_type_are_looked_for():
    release = {
        "heartbeat": HEARTBEAT,
        "cell_moved": HEARTBEAT._replace(name="cell_moved", version=4),
    }
    assert sorted(known_opaque_types(release)) == ["cell_moved@3", "cell_moved@4", "heartbeat@1"]
    assert opaque_type(EVENT) in known_opaque_types(release)


def test_no_type_of_an_event_is_opaque_and_what_cannot_be_read_is_looked_for_no_more():
    assert is_opaque(opaque_type(EVENT))
    assert not any(is_opaque(name) for name in EVENT_TYPES)
    marked = unreadable_type(opaque_type(EVENT))
    assert (marked, is_opaque(marked)) == ("cell_moved!3", False)
