"""Proves the engine and the predictor on a GPU, and measures them against plain torch code in the same run."""
