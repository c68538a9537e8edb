"""Contracts, streams, storage, auth and telemetry that the Cell Monitor services share."""
