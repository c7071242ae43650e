"""The files that an index names, for instances and for versions kept aside."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import merge
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Integer, Row, Select, Table, bindparam, exists, func, select

from pacslite.index.reader import IndexReader
from pacslite.index.tables import conflict, instance, store
from pacslite.model.instances import InstanceKey, StoredFile

T = TypeVar("T")

PAGE_ROWS: Final = 1000

_FILE: Final = ("path", "file_bytes", "data_set_offset", "digest", "transfer_syntax_uid", "sop_class_uid")


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file and the instance that it holds."""

    key: InstanceKey
    file: StoredFile


def _page(table: Table) -> Select[Any]:
    columns = [*(table.c[name] for name in _FILE), instance.c.sop_instance_uid]
    found = select(*columns) if table is instance else select(*columns).join_from(table, instance)
    return (
        found.where(table.c.path > bindparam("after"))
        .order_by(table.c.path)
        .limit(bindparam("rows", type_=Integer))
    )


_PAGES: Final = (_page(instance), _page(conflict))
_COUNT: Final = select(
    select(func.count(instance.c.path)).scalar_subquery()
    + select(func.count(conflict.c.path)).scalar_subquery()
)
_IS_NAMED: Final = select(
    exists().where(instance.c.path == bindparam("path"))
    | exists().where(conflict.c.path == bindparam("path"))
)
_IDENTITIES: Final = select(store.c.node_name, store.c.identity)


def named_files(reader: IndexReader) -> Iterator[NamedFile]:
    """Yield every file that is named, in order of path, a page of rows in each transaction."""
    after = ""
    while page := reader.read(_reading_page(after)):
        yield from page
        after = page[-1].file.path


def count_named(reader: IndexReader) -> int:
    """Return how many files are named."""
    return reader.read(lambda connection: int(connection.scalar(_COUNT) or 0))


def is_named(reader: IndexReader, path: str) -> bool:
    """Whether an instance or a conflict names the file at `path`."""
    return reader.read(lambda connection: bool(connection.scalar(_IS_NAMED, {"path": path})))


def identities(reader: IndexReader) -> dict[str, str]:
    """Return the identities of the stores that the index belongs to, by name of their node."""
    return reader.read(
        lambda connection: {row.node_name: row.identity for row in connection.execute(_IDENTITIES)}
    )


def _reading_page(after: str) -> Callable[[Connection], list[NamedFile]]:
    def read(connection: Connection) -> list[NamedFile]:
        pages = [connection.execute(page, {"after": after, "rows": PAGE_ROWS}).all() for page in _PAGES]
        rows = merge(*pages, key=lambda row: row.path)
        return [_named(row) for row, _ in zip(rows, range(PAGE_ROWS), strict=False)]

    return read


def _named(row: Row[Any]) -> NamedFile:
    return NamedFile(
        InstanceKey(row.sop_class_uid, row.sop_instance_uid, row.transfer_syntax_uid),
        StoredFile(row.path, row.file_bytes, row.data_set_offset, row.digest),
    )
