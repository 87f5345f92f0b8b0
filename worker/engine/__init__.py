"""The training engine. It depends on torch, but not on the queue, the database, HTTP or the settings."""
