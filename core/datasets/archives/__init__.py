"""Reads uploaded zip and tar archives safely."""
