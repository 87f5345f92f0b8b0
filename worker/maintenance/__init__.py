"""Finds lost attempts, lost messages and expired files."""
