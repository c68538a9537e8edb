"""What every HTTP service answers alike: errors, probes, limits on bodies."""
