"""Builds the metrics of torchmetrics for a task, and accumulates them over a phase."""
