"""Exports a packed dataset as a zip archive of images or tables."""
