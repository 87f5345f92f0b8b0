"""HTTP around the endpoints: middleware, rate limits, cancellation, the fast path, metrics and tracing."""
