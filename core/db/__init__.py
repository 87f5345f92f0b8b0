"""Contains the database tables, sessions and queries."""
