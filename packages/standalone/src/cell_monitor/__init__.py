"""The cell-monitor command: the whole system on one machine, a simulated class, rebuild and administration."""
