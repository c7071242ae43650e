"""Column types that mean the same in SQLite and in PostgreSQL."""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, Dialect, Integer, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, kept as microseconds since 1970-01-01 in UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return what the database keeps."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the moment, aware and in UTC."""
        return None if value is None else _EPOCH + value * _MICROSECOND


def string(max_characters: int) -> String:
    """Return a text type that compares by code point on both databases."""
    return String(max_characters).with_variant(String(max_characters, collation="C"), "postgresql")


def long_text() -> TypeEngine[str]:
    """Return a text type without a limit, for what is never compared."""
    return Text()


def key() -> TypeEngine[int]:
    """Return the type of primary and foreign keys: SQLite numbers rows itself only as INTEGER."""
    return BigInteger().with_variant(Integer(), "sqlite")
