"""Model serving: model cache, admission control, image decoding and inference processes, without HTTP or a database."""
