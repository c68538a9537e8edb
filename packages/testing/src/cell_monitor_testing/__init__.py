"""Real servers and fault injection for Cell Monitor's tests; never in an image."""
