"""Runs sweeps: collects the results of trials, decides what trains next, and ends sweeps."""
