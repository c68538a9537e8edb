"""Loads the shared fixtures and options: ``cell_monitor_testing.fixtures`` has real servers, ``host_plugin`` hosts."""

from __future__ import annotations

pytest_plugins = ["cell_monitor_testing.fixtures", "cell_monitor_testing.host_plugin"]
