"""Model serving: model cache, admission control, image decoding, inference processes. Uses no HTTP, no database."""
