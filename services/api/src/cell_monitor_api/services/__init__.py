"""Rules of the API; they know nothing of HTTP."""
