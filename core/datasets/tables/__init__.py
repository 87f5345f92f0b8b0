"""Tables and time series: CSV files, column roles, windows and sample weights."""
