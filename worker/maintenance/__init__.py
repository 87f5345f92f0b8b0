"""Releases jobs of lost attempts, resends lost messages, and deletes expired rows and orphaned files."""
