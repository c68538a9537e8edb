"""A pytest plugin: the files of the longest tests are run first.

``make test`` gives whole files to several processes. A long file that is started last would be run by one process while
the others have nothing left to do.
"""

from __future__ import annotations

import pytest

__all__ = ["longest_files_first", "pytest_collection_modifyitems"]


def longest_files_first(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests with the files of the longest timeouts first; the order within a file is kept.

    A file's length is the longest timeout that one of its tests declares with ``pytest.mark.timeout``. Files in which no
    test declares one come last, in their old order.
    """
    timeouts: dict[str, float] = {}
    for item in items:
        marker = item.get_closest_marker("timeout")
        declared = float(marker.args[0]) if marker is not None and marker.args else 0.0
        file = item.nodeid.partition("::")[0]
        timeouts[file] = max(timeouts.get(file, 0.0), declared)
    # Files of the same timeout must not be mixed, as a fixture of one file would be made again for each of its parts.
    position = {file: place for place, file in enumerate(timeouts)}
    rank = {file: (-timeout, position[file]) for file, timeout in timeouts.items()}
    return sorted(items, key=lambda item: rank[item.nodeid.partition("::")[0]])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the collected tests in place, unless this process runs all of them: then no process waits for another."""
    # Only the workers of pytest-xdist have this attribute (its documentation, How-tos).
    if hasattr(config, "workerinput"):
        items[:] = longest_files_first(items)
