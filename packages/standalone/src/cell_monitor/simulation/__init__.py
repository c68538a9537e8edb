"""A realistic simulated class that uses the real API, for demonstrations and for load tests."""
