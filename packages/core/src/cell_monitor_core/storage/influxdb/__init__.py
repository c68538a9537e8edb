"""InfluxDB 2: time series in line protocol."""
