"""Model serving without HTTP and database: model cache, admission control, decoding and the inference processes."""
