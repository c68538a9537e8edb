"""Stores: the ports, and their adapters for PostgreSQL and InfluxDB 2."""
