"""Modules that run in the peers' environments. They import nothing from this service."""
