"""Predictions over real HTTP, beside other servers of networks, each in an environment of its own."""
