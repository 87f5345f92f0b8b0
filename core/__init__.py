"""Code shared by the HTTP service and the workers. It imports neither torch nor a web framework."""
