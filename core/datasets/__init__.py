"""Datasets: built-in datasets, uploads, and the packed form that training reads."""
