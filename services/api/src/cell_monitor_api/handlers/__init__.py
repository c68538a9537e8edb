"""Handlers: HTTP on the outside, the services' rules on the inside."""
