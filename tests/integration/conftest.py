"""Fixtures of the integration tests; each is told in `tests/support`."""

from support.index import any_url, index, index_url, sqlite_url
from support.postgresql import postgresql_cluster, postgresql_url

__all__ = ["any_url", "index", "index_url", "postgresql_cluster", "postgresql_url", "sqlite_url"]
