"""Edits a packed dataset into a new version, without the files that were uploaded."""
