"""The networks that answer: pool, batcher, predictor, decoding; no HTTP and no database."""
