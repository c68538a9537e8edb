"""The durable queue between the API and the worker: an ``EventLog`` over Redis Streams; its twin in memory is among the tests' tools."""
