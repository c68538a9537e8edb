"""The commands of ``cell-monitor``, one module each."""
