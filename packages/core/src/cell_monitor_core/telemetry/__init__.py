"""What a service tells about itself: metrics, traces, logs. Never a user in a label, never a payload in a log."""
