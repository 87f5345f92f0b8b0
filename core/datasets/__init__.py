"""Datasets: built-in ones, archives, tables, and the packed form that training reads."""
