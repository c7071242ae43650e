"""The service classes of PS3.4, one module each: a request becomes a use case of an archive."""
