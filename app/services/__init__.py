"""Implements the operations of the API. HTTP is handled in `app/api`, SQL in `core/db/repos`."""
