"""The HTTP service and the inference processes."""
