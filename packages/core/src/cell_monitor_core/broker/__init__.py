"""Publications with offsets and a bounded history: the ``Broker`` over Redis."""
