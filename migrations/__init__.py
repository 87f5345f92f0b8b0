"""Alembic migrations of the database schema. `core.db.schema` applies them."""
