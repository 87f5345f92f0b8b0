"""Every query, one file a table; a repo is given its session and never commits."""
