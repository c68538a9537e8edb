"""Numbered publications with a bounded history: a ``Broker`` over Redis, and its in-memory twin."""
