"""A believable class through the real API: demo mode and load generator in one."""
