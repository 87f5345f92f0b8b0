"""The trainer process: reads a job from a pipe, runs it, and sends messages back."""
