"""The sinks of the consumer groups."""
