"""What a client can do; no HTTP and no SQL."""
