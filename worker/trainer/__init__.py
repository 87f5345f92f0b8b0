"""The trainer process: it reads a job spec from a pipe, trains, and sends messages back."""
