"""Cell Monitor's HTTP API: ingest, sign-in, queries, test mode."""
