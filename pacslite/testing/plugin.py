"""The pytest plugin: it is loaded into every pytest run, so it imports nothing until a fixture is used."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pacslite.testing.running import RunningNode


@pytest.fixture
def pacs() -> "Iterator[RunningNode]":
    """Give a running node on a free port of 127.0.0.1, with an empty archive that goes with the test."""
    from pacslite.testing.running import running_node  # noqa: PLC0415 - see the module's docstring

    with running_node() as node:
        yield node


@pytest.fixture
def pacs_factory() -> "Iterator[Callable[..., RunningNode]]":
    """Give a function that starts a node; it takes what `pacslite.testing.running_node` takes."""
    from pacslite.testing.running import running_node  # noqa: PLC0415 - see the module's docstring

    with ExitStack() as stack:
        yield lambda *arguments, **changes: stack.enter_context(running_node(*arguments, **changes))
