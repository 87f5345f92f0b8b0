"""The SDK and the command line: they talk HTTP only; `up` starts the other parts as processes."""
