"""The index: what the archive knows of its files, in SQLite or PostgreSQL."""
