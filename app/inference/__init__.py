"""The inference process: it loads models and computes batches. It has no HTTP, no database and no storage."""
