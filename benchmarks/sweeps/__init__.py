"""Simulates sweeps over stored learning curves: how many epochs a scheduler saves, and what it finds."""
