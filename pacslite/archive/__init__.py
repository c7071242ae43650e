"""The use cases of the archive: ingest, query, retrieve."""
