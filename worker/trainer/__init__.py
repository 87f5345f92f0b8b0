"""The trainer process: receives a job through a pipe, runs it, and sends messages to its supervisor."""
