"""Contains the database queries in repository classes, which use the session of their caller and never commit."""
