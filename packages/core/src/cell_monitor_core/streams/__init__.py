"""The durable queue between the API and the worker over Redis Streams: ``producer`` writes it, ``consumer`` reads it."""
