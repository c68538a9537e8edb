"""Erasing a person or a course everywhere: one list of all places (``places``), and what goes through it (``erase``)."""
