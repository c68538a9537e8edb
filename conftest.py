"""Loads the shared fixtures: real servers, see ``cell_monitor_testing.fixtures``."""

from __future__ import annotations

pytest_plugins = ["cell_monitor_testing.fixtures"]
