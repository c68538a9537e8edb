"""Loads the plugins of all tests: ``fixtures`` has real servers, ``host_plugin`` hosts, ``file_order`` the order."""

from __future__ import annotations

pytest_plugins = [
    "cell_monitor_testing.fixtures",
    "cell_monitor_testing.host_plugin",
    "cell_monitor_testing.file_order",
]
