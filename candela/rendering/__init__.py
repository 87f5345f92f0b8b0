"""Renders responses, reports and progress in the terminal."""
