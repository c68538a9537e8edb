"""The durable queue between the API and the worker: an ``EventLog`` over Redis Streams, and its in-memory twin."""
