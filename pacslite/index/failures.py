"""What a failed transaction means: try again, tell the sender, or tell that nobody knows."""

from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError

from pacslite.model.errors import OutOfResourcesError

_SERIALIZATION_STATES: Final = frozenset({"40001", "40P01"})
"""PostgreSQL took back one of several transactions that ran against each other."""

_SQLITE_FULL: Final = "SQLITE_FULL"

_MISTAKES: Final = (DataError, IntegrityError, NotSupportedError, ProgrammingError)


class CommitInDoubtError(OutOfResourcesError):
    """The commit failed in such a way that the index may still have it after a restart.

    Whoever asked must not remove the file that the index may name: recovery decides.
    """


class DatabaseUnavailableError(OutOfResourcesError):
    """The database did not even begin a transaction: unreachable, or locked by another process."""


def is_worth_retrying(error: Exception) -> bool:
    """Whether the same command may succeed on a fresh transaction.

    Another node was faster with the same patient, study, series or instance (S13), or the connection to the
    server was lost before the commit.
    """
    if isinstance(error, IntegrityError):
        return True
    return isinstance(error, DBAPIError) and (error.connection_invalidated or _is_serialization(error))


def at_commit(error: DBAPIError) -> Exception:
    """Return what a failure of COMMIT itself is to be raised as."""
    if isinstance(error, IntegrityError) or _is_serialization(error):
        return error
    # A log that found no room has no commit record; after any other failure it may have one.
    if getattr(error.orig, "sqlite_errorname", None) == _SQLITE_FULL:
        return error
    return CommitInDoubtError("The index could not be synced")


def as_reported(error: Exception) -> Exception:
    """Return what the one who asked is told: a database failure in our words, all else as it is."""
    if isinstance(error, CommitInDoubtError):
        reported: Exception = CommitInDoubtError(error.comment)
    elif isinstance(error, DatabaseUnavailableError) or _is_of_database(error):
        reported = OutOfResourcesError("The index cannot be written")
    else:
        return error
    reported.__cause__ = error
    return reported


def describe(error: BaseException) -> str:
    """Return the database's own words for the log; they name tables and files, never values."""
    cause = error.__cause__ if isinstance(error, CommitInDoubtError | DatabaseUnavailableError) else error
    original = cause.orig if isinstance(cause, DBAPIError) else cause
    return f"{type(original).__name__}: {original}"


def _is_of_database(error: Exception) -> bool:
    """Whether the database failed, as opposed to having been asked something wrong."""
    return isinstance(error, DBAPIError) and not isinstance(error, _MISTAKES)


def _is_serialization(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in _SERIALIZATION_STATES
