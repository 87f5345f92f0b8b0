"""The trainer process: receives a job through a pipe, runs the job, and sends messages to its supervisor."""
