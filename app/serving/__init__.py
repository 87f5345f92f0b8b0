"""Model serving: model cache, admission control, image decoding, inference processes. Uses no HTTP and no database."""
