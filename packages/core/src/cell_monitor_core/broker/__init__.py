"""Numbered publications with a bounded history: a ``Broker`` over Redis; its twin in memory is among the tests' tools."""
