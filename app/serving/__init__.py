"""The networks that answer: pool, batcher, predictor; no HTTP and no database."""
