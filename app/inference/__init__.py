"""The inference process: loads models and computes batches. It does not use HTTP, the database or the storage."""
