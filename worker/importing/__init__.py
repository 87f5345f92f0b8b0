"""Imports of datasets, each packed in a process of its own."""
