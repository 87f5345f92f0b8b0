"""What the HTTP service and the workers agree on; it imports neither torch nor a web framework."""
