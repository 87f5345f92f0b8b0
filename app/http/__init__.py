"""HTTP functions that all endpoints share: middleware, rate limits, cancellation, fast routes, metrics and tracing."""
