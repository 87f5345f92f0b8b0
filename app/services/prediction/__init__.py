"""Predictions with registered models and checkpoints: version cache, timeouts, explanations."""
