"""What the groups do with events."""
