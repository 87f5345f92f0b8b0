"""Request and response bodies. Response fields have no default values, so that OpenAPI lists them as required."""
