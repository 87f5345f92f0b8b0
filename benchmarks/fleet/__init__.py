"""Simulates a fleet of workers against the real service, to find the load at which the first component saturates."""
