"""Redis state that only the API reads or writes; PostgreSQL queries are core's."""
