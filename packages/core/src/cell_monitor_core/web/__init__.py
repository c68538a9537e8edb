"""HTTP behaviour that all services share: error responses, probes, limits on request bodies."""
