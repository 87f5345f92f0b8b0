"""HTTP in, HTTP out; and the networks that answer."""
