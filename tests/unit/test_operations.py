import pytest
from pydantic import BaseModel

from pacslite.archive.operation import Arguments, Operation, ignore_progress
from pacslite.archive.operations import OPERATIONS, operation_of
from pacslite.model.errors import OperationError


class Example(Arguments):
    uid: str
    count: int = 1


EXAMPLE: Operation[Example] = Operation(Example, lambda *_: None)


def test_arguments_are_what_they_say() -> None:
    assert EXAMPLE.parse({"uid": "1.2"}) == Example(uid="1.2", count=1)
    assert EXAMPLE.parse({"uid": "1.2", "count": 3}).count == 3


@pytest.mark.parametrize(
    ("given", "named"),
    [({}, "uid"), ({"uid": "1", "colour": "red"}, "colour"), ({"uid": "1", "count": "many"}, "count")],
    ids=["missing", "unknown", "wrong"],
)
def test_wrong_arguments_are_named_and_their_values_are_not(given: dict[str, object], named: str) -> None:
    with pytest.raises(OperationError, match=named) as caught:
        EXAMPLE.parse(given)
    assert not [word for word in ("red.", "'red'", "many") if word in str(caught.value)]


def test_an_unknown_operation_is_an_error_that_names_it() -> None:
    with pytest.raises(OperationError, match=r"'explode'"):
        operation_of("explode")


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_takes_frozen_arguments_without_unknown_ones(name: str) -> None:
    arguments = operation_of(name).arguments
    assert issubclass(arguments, BaseModel)
    assert arguments.model_config.get("frozen")
    assert arguments.model_config.get("extra") == "forbid"
    assert operation_of(name).run.__doc__


def test_a_progress_that_tells_nobody_stops_nothing() -> None:
    ignore_progress(1, None, "files")


def test_a_choice_of_jobs_must_choose() -> None:
    with pytest.raises(OperationError, match="say which jobs"):
        operation_of("jobs.retry").parse({})
    assert operation_of("jobs.retry").parse({"numbers": [1, 2]}).numbers == (1, 2)
