"""The database queries, one module per table. Repositories use the session of their caller and never commit."""
