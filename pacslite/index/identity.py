"""Which store an index belongs to."""

from typing import Final

from sqlalchemy import bindparam, insert, select

from pacslite.index.tables import conflict, instance, store
from pacslite.index.transaction import WriteTransaction

_FIND: Final = select(store.c.identity).where(store.c.node_name == bindparam("node"))
_INSERT: Final = insert(store)


def identity_of_store(transaction: WriteTransaction, node_name: str) -> str | None:
    """Return the identity of the node's store, or None when the index has never seen it."""
    return transaction.connection.execute(_FIND, {"node": node_name}).scalar_one_or_none()


def names_files_of(transaction: WriteTransaction, node_name: str) -> bool:
    """Whether the index names any file of the node's store."""
    return any(
        transaction.connection.scalar(
            select(table.c.pk).where(table.c.path.startswith(f"{node_name}/", autoescape=True)).limit(1)
        )
        for table in (instance, conflict)
    )


def remember_store(transaction: WriteTransaction, node_name: str, identity: str) -> None:
    """Record the identity of the node's store."""
    transaction.connection.execute(_INSERT, {"node_name": node_name, "identity": identity})
