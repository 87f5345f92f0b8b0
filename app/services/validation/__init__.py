"""Validation of job specs: tables of rules by job kind, and one place that raises InvalidSpec."""
