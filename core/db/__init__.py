"""The database: tables, sessions and queries."""
