"""Validation of job specs: every refusal of a spec comes from here."""
