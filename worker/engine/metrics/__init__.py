"""Metrics of torchmetrics, by task, and the sums of a phase."""
