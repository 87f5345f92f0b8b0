"""The process in which networks run: it knows folders, pixels and scores; no HTTP, no database, no storage."""
