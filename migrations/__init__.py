"""Changes of the database's schema, one file each; `core.db.schema` applies them."""
