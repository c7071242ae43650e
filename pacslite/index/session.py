"""The writer's connection: one transaction after the other, whatever becomes of each."""

from collections.abc import Callable, Sequence
from typing import Any, Self

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from pacslite.index.failures import DatabaseUnavailableError, at_commit
from pacslite.index.transaction import EntityCache, WriteTransaction


class Session:
    """Holds the writing connection and the rows known on it; a context manager of the writer's thread.

    Parameters
    ----------
    engine
        Of one writing connection.
    jobs_committed
        Called after each commit by which jobs may have become due.
    """

    def __init__(self, engine: Engine, jobs_committed: Callable[[], None]) -> None:
        self._engine = engine
        self._jobs_committed = jobs_committed
        self._cache = EntityCache()
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def connection(self) -> Connection | None:
        """The connection between two transactions; None before the first and after a failure."""
        return self._connection

    def transact(self, commands: Sequence[Callable[[WriteTransaction], Any]]) -> list[Any]:
        """Carry out `commands` in one transaction and return their results once it is durable.

        Raises
        ------
        DatabaseUnavailableError
            If no transaction could be begun; no command was run.
        CommitInDoubtError
            If the commit failed and may nevertheless survive.
        Exception
            Whatever a command or the database raised; nothing of the transaction is left.
        """
        try:
            transaction = WriteTransaction(self._begin(), self._cache)
            results = _transact(transaction, commands)
        except BaseException:
            self._cache.clear()
            self._close()
            raise
        if transaction.has_new_jobs:
            self._jobs_committed()
        return results

    def _begin(self) -> Connection:
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            self._connection.begin()
        except DBAPIError as error:
            raise DatabaseUnavailableError("The index cannot be written") from error
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _transact(
    transaction: WriteTransaction, commands: Sequence[Callable[[WriteTransaction], Any]]
) -> list[Any]:
    results = [command(transaction) for command in commands]
    transaction.flush()
    try:
        transaction.connection.commit()
    except DBAPIError as error:
        # SQLAlchemy takes the transaction for ended; SQLite may have it open still.
        transaction.connection.invalidate()
        raise at_commit(error) from error
    return results
