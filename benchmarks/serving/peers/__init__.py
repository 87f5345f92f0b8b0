"""What runs inside the peers' environments: it knows nothing of this service."""
