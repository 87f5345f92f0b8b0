"""Imports of datasets: claims a version, packs it in a limited process and publishes the result."""
