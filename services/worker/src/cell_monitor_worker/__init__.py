"""Cell Monitor's worker: consumer groups, facts, derived state, time series, publications."""
