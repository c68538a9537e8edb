"""``cell-monitor rebuild``."""
