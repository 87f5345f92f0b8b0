"""Reads uploaded zip and tar archives. Rejects unsafe entries and archives that exceed the upload limits."""
