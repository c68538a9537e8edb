"""Loads the plugins of all tests: ``fixtures`` has real servers, ``host_plugin`` hosts, ``file_order`` the order."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "cell_monitor_testing.fixtures",
    "cell_monitor_testing.host_plugin",
    "cell_monitor_testing.file_order",
]

# A property holds or does not, however busy the machine is: no test ends by a wall clock of Hypothesis.
settings.register_profile("without-clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("without-clock")
