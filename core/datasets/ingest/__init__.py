"""Converts built-in, uploaded and inline datasets to the packed form."""
