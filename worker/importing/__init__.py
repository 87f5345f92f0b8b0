"""Imports datasets: claims a dataset version, packs it in a process with resource limits, publishes the result."""
