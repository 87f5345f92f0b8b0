"""Predicts with registered models and checkpoints, and explains predictions."""
