"""Request and response bodies. Response fields have no defaults, so that OpenAPI lists them as required."""
