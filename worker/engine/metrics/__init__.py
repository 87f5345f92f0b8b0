"""Metrics of torchmetrics by task, and their accumulation over a phase."""
