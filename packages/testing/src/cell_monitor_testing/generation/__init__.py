"""Every file of the repository that is generated: ``python -m cell_monitor_testing.generation [--check]``."""
