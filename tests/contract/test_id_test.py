"""Hazard: the Jupyter Server accepts a test_id that the API refuses, and its spooled events are lost."""

import pytest

from cell_monitor_core.channels import TEST_ID_PATTERN, parse_channel, test_channel
from jupyterlab_cell_monitor import ingest_body


def test_both_have_the_same_pattern_for_test_ids():
    # The extension does not import core, because it is installed in the students' environments.
    assert ingest_body.TEST_ID.pattern == TEST_ID_PATTERN


@pytest.mark.parametrize("name", ["t", "run-1_B", "9" * 63])
def test_a_test_id_that_the_jupyter_server_accepts_is_a_channel(name):
    body = f'{{"test_id":"{name}","events":[]}}'.encode()
    assert ingest_body.read_batch(body).test_id == name
    assert parse_channel(test_channel(name)) == ("test", name)
