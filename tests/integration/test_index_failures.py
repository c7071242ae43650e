"""What a failed transaction is taken for."""

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, IntegrityError, OperationalError
from support.index import Index, make_entry

from pacslite.index.failures import (
    CommitInDoubtError,
    DatabaseUnavailableError,
    as_reported,
    at_commit,
    describe,
    is_worth_retrying,
)
from pacslite.index.transaction import WriteTransaction
from pacslite.model.errors import OutOfResourcesError
from pacslite.model.instances import Outcome

if TYPE_CHECKING:
    from concurrent.futures import Future


class ServerError(Exception):
    def __init__(self, sqlstate: str) -> None:
        super().__init__("said by the server")
        self.sqlstate = sqlstate


def sqlite_error(name: str) -> OperationalError:
    original = sqlite3.OperationalError("said by SQLite")
    original.sqlite_errorname = name
    return OperationalError("COMMIT", {}, original)


def server_error(sqlstate: str) -> OperationalError:
    return OperationalError("COMMIT", {}, ServerError(sqlstate))


@pytest.mark.parametrize("name", ["SQLITE_IOERR_FSYNC", "SQLITE_IOERR_WRITE", "SQLITE_BUSY"])
def test_a_commit_that_may_have_left_its_record_is_in_doubt(name: str) -> None:
    assert isinstance(at_commit(sqlite_error(name)), CommitInDoubtError)


def test_a_commit_that_found_no_room_is_undone() -> None:
    error = sqlite_error("SQLITE_FULL")
    assert at_commit(error) is error
    assert not isinstance(as_reported(error), CommitInDoubtError)
    assert isinstance(as_reported(error), OutOfResourcesError)


def test_a_lost_connection_at_commit_is_in_doubt() -> None:
    assert isinstance(at_commit(server_error("57P01")), CommitInDoubtError)


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_s13_a_transaction_that_the_server_took_back_is_tried_again(sqlstate: str) -> None:
    error = server_error(sqlstate)
    assert at_commit(error) is error
    assert is_worth_retrying(error)


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("INSERT", {}, Exception("disk I/O error")),
        DatabaseError("INSERT", {}, Exception("malformed")),
        DatabaseUnavailableError("The index cannot be written"),
    ],
)
def test_a_failing_database_is_out_of_resources(error: Exception) -> None:
    reported = as_reported(error)
    assert type(reported) is OutOfResourcesError
    assert reported.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [DataError("INSERT", {}, Exception()), IntegrityError("INSERT", {}, Exception()), ValueError()],
)
def test_mistakes_are_passed_on_as_they_are(error: Exception) -> None:
    assert as_reported(error) is error


def test_a_description_has_the_databases_words_and_no_statement() -> None:
    error: DBAPIError = OperationalError("INSERT INTO secret", {"name": "Doe"}, Exception("no room"))
    doubt = CommitInDoubtError("The index could not be synced")
    doubt.__cause__ = error
    assert describe(error) == describe(doubt) == "Exception: no room"


def test_a_database_that_goes_away_during_a_replay_is_waited_for_once(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def go_away(_: object) -> None:
        begun.append(1)
        raise OperationalError("BEGIN", {}, Exception("gone"))

    def raise_and_take_away(_: WriteTransaction) -> None:
        monkeypatch.setattr("sqlalchemy.engine.Connection.begin", go_away)
        raise ValueError

    with index.held_back():
        futures: list[Future[Any]] = [index.writer.submit(raise_and_take_away)]
        futures += [index.submit(make_entry(f"1.{number}")) for number in range(5)]
    errors = {type(future.exception(timeout=20)) for future in futures}
    monkeypatch.undo()
    assert errors == {OutOfResourcesError}
    assert len(begun) == 1
    assert index.receive(make_entry()).outcome is Outcome.STORED
