"""Validates job specs with a table of rules for each job kind."""
