"""Metrics, traces and logs. No label identifies a user, no log contains a payload."""
