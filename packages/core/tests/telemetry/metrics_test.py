"""Hazards: a user in a label, labels without bound, wrong sums over several processes, a scrape that disagrees."""

import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from cell_monitor_core.telemetry.instruments import Catalogue
from cell_monitor_core.telemetry.metrics import CATALOGUE


def samples(catalogue):
    registry = CollectorRegistry()
    registry.register(catalogue)
    return parse(generate_latest(registry).decode())


def parse(text):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_no_metric_of_the_catalogue_has_a_label_for_a_person():
    for family in CATALOGUE.families.values():
        assert not {"user", "username", "student", "person_id", "course", "email"} & set(family.label_names)
        assert family.help.endswith(".")


@pytest.mark.parametrize("label", ["user", "student_id", "course"])
def test_a_label_for_a_person_or_course_is_refused(label):
    with pytest.raises(ValueError, match="no label that identifies a person"):
        Catalogue().counter("cell_monitor_x_total", "X.", {label: None})


def test_unbounded_label_is_refused():
    family = Catalogue().counter("cell_monitor_x_total", "X.", {"code": None})
    for number in range(1024):
        family.labels(number)
    with pytest.raises(ValueError, match="unbounded"):
        family.labels(1024)


def test_declaring_twice_or_badly_is_refused():
    catalogue = Catalogue()
    catalogue.counter("cell_monitor_x_total", "X.")
    with pytest.raises(ValueError, match="twice"):
        catalogue.counter("cell_monitor_x_total", "X.")
    with pytest.raises(ValueError, match="_total"):
        catalogue.counter("cell_monitor_y", "Y.")
    with pytest.raises(ValueError, match="ascending"):
        catalogue.histogram("cell_monitor_z_seconds", "Z.", (1, 1))
    with pytest.raises(ValueError, match="labels"):
        catalogue.gauge("cell_monitor_g", "G.", {"group": None}).labels()


def test_known_children_are_zero_from_the_start():
    catalogue = Catalogue()
    catalogue.counter("cell_monitor_x_total", "X.", {"reason": ("a", "b")})
    assert samples(catalogue) == {
        ("cell_monitor_x_total", (("reason", "a"),)): 0,
        ("cell_monitor_x_total", (("reason", "b"),)): 0,
    }


@given(st.lists(st.floats(0, 20) | st.sampled_from([0.1, 1.0, 10.0]), max_size=50))
def test_histogram_equals_that_of_prometheus_client(values):
    catalogue = Catalogue()
    child = catalogue.histogram("cell_monitor_h_seconds", "H.", (0.1, 1, 10)).labels()
    for value in values:
        child.observe(value)
    found = samples(catalogue)
    for bound in ("0.1", "1.0", "10.0", "+Inf"):
        expected = sum(value <= float(bound) for value in values)
        assert found["cell_monitor_h_seconds_bucket", (("le", bound),)] == expected
    assert found["cell_monitor_h_seconds_count", ()] == len(values)
    assert found["cell_monitor_h_seconds_sum", ()] == pytest.approx(sum(values))


def test_only_the_services_own_metrics_are_exposed():
    catalogue = Catalogue()
    catalogue.counter("cell_monitor_all_total", "A.")
    catalogue.section("api", "worker")
    catalogue.counter("cell_monitor_two_total", "B.")
    catalogue.section("gateway")
    catalogue.counter("cell_monitor_one_total", "C.")
    catalogue.service = "api"
    assert {name for name, _ in samples(catalogue)} == {"cell_monitor_all_total", "cell_monitor_two_total"}


PROCESS = """
    import asyncio, sys
    from cell_monitor_core.telemetry import metrics

    async def main():
        metrics.set_build_info("api", "1.2.3")
        async with metrics.MultiprocessFlush(metrics.CATALOGUE, interval=0.01):
            number = int(sys.argv[1])
            metrics.EVENTS_RECEIVED.inc(number)
            metrics.EVENTS_REJECTED.labels("invalid_event").inc()
            metrics.INGEST_SECONDS.observe(0.004, 2)
            metrics.EVENT_LOOP_LAG_SECONDS.observe(9)
            await asyncio.sleep(0.05)
            metrics.EVENTS_RECEIVED.inc(number)
        if number == 3:
            sys.stdout.buffer.write(metrics.render_metrics()[0])
    asyncio.run(main())
"""


def test_counts_of_processes_are_summed_including_ended_ones(tmp_path):
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for number in (1, 2, 3):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(PROCESS), str(number)],
            env=environment,
            capture_output=True,
            check=True,
            timeout=60,
        )
    found = parse(done.stdout.decode())
    assert found["cell_monitor_events_received_total", ()] == 12
    assert found["cell_monitor_events_rejected_total", (("reason", "invalid_event"),)] == 3
    assert found["cell_monitor_events_rejected_total", (("reason", "course_forbidden"),)] == 0
    assert found["cell_monitor_ingest_seconds_count", ()] == 6
    assert found["cell_monitor_ingest_seconds_bucket", (("le", "0.005"),)] == 6
    assert found["cell_monitor_ingest_seconds_bucket", (("le", "0.0025"),)] == 0
    assert found["cell_monitor_ingest_seconds_sum", ()] == pytest.approx(0.024)
    assert found["cell_monitor_event_loop_lag_seconds_bucket", (("le", "+Inf"),)] == 3
    assert found["cell_monitor_build_info", (("service", "api"), ("version", "1.2.3"))] == 1
    assert not any(name.startswith("cell_monitor_gateway") for name, _ in found)
