"""What is stored: tables, sessions, and every query."""
