"""What clients send and see; answers have no defaults, so that OpenAPI says every field is always there."""
