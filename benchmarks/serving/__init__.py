"""Compares predictions over HTTP with other model servers, each in its own environment."""
