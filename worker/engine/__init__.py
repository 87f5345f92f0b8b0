"""The training engine: torch only; no queue, no table, no HTTP, no settings."""
