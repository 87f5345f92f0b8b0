"""Implements the operations of the API. `app/api` handles HTTP, `core/db/repos` runs SQL."""
