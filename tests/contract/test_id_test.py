"""Hazard: the Jupyter Server takes a test's name that the API refuses, spools its events and throws them away."""

import pytest

from cell_monitor_core.channels import TEST_ID_PATTERN, parse_channel, test_channel
from jupyterlab_cell_monitor import ingest_body


def test_both_have_one_pattern_for_the_names_of_tests():
    # The extension imports nothing of ours: it is installed where students are.
    assert ingest_body.TEST_ID.pattern == TEST_ID_PATTERN


@pytest.mark.parametrize("name", ["t", "run-1_B", "9" * 63])
def test_a_name_that_the_jupyter_server_takes_is_a_channel(name):
    body = f'{{"test_id":"{name}","events":[]}}'.encode()
    assert ingest_body.read_batch(body).test_id == name
    assert parse_channel(test_channel(name)) == ("test", name)
