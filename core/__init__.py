"""Contains the code that the HTTP service and the workers share. It imports neither torch nor a web framework."""
