"""What the commands of an archive's keeper share: the archive, who does it, how far it has come."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pacslite.cli.exits import ExitCode
from pacslite.model.errors import ConfigurationError, DataFolderError
from pacslite.settings.schema import ArchiveSettings, Settings

if TYPE_CHECKING:
    from pacslite.archive.operation import Progress
    from pacslite.control.keeper import Keeper
    from pacslite.index.reader import IndexReader

ArchiveOption = Annotated[
    str | None,
    typer.Option("--archive", metavar="NAME", help="Archive of the settings; without it the first one."),
]

PLAIN_SECONDS: Final = 5.0
"""Where there is no terminal, a line tells the progress so often."""


def chosen_archive(settings: Settings, name: str | None) -> ArchiveSettings:
    """Return the archive called `name`; None: the first one.

    Raises
    ------
    ConfigurationError
        There is none.
    """
    if name is None:
        return settings.archives[0]
    found = next((archive for archive in settings.archives if archive.name == name), None)
    if found is None:
        names = ", ".join(archive.name for archive in settings.archives)
        raise ConfigurationError(f"there is no archive {name!r}; the settings have {names}")
    return found


@contextmanager
def reading(settings: Settings, archive: ArchiveSettings) -> "Iterator[IndexReader]":
    """Yield a reader of an archive's index, whether or not a node runs.

    Raises
    ------
    IndexRevisionError
        The index is of another revision, or there is none.
    DataFolderError
        It cannot be read.
    """
    # SQLAlchemy takes half of the start-up, which --help and other commands need not wait for.
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - see above

    from pacslite.archive.archive import index_url  # noqa: PLC0415 - see above
    from pacslite.index import migrate  # noqa: PLC0415 - see above
    from pacslite.index.engine import open_reader_engine  # noqa: PLC0415 - see above
    from pacslite.index.reader import IndexReader  # noqa: PLC0415 - see above

    url = index_url(settings, archive)
    migrate.check(url)
    engine = open_reader_engine(url, busy_seconds=settings.index.busy_seconds, reader_count=1)
    try:
        yield IndexReader(engine)
    except DBAPIError as error:
        raise DataFolderError(f"the index of archive {archive.name}: {error.orig}") from error
    finally:
        engine.dispose()


@contextmanager
def keeping(settings: Settings) -> "Iterator[Keeper]":
    """Yield who carries out operations, and tell on standard error who that is.

    Raises
    ------
    DataFolderError
        The folder cannot be used, or is held by a process that does not answer.
    """
    from pacslite.control.keeper import open_keeper  # noqa: PLC0415 - takes as long as all the rest

    with open_keeper(settings) as keeper:
        tell(f"through {keeper.via}" if not keeper.is_alone else f"{keeper.via}: done by this command")
        yield keeper


def carry_out(
    settings: Settings, archive_name: str | None, operation: str, arguments: Mapping[str, Any]
) -> Any:
    """Return the result of one operation, with its progress told, in the node or here.

    Raises
    ------
    PacsliteError
        As the operation says.
    """
    archive = chosen_archive(settings, archive_name)
    with keeping(settings) as keeper:
        try:
            with progress_shown() as progress:
                return keeper.call(operation, arguments, progress=progress, archive=archive.name)
        except KeyboardInterrupt:
            tell("interrupted" if keeper.is_alone else "interrupted; the node may go on with it")
            raise typer.Exit(ExitCode.INTERRUPTED) from None


def tell(text: str) -> None:
    """Say something to people, beside the result."""
    typer.echo(f"pacslite: {text}", err=True)


@contextmanager
def progress_shown() -> "Iterator[Progress]":
    """Yield a progress, for any thread: a bar on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        with _bar() as progress:
            yield progress
    else:
        yield _Lines().progress


class _Lines:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._due = clock() + PLAIN_SECONDS

    def progress(self, done: int, total: int | None, what: str) -> None:
        with self._lock:
            if self._clock() < self._due:
                return
            self._due = self._clock() + PLAIN_SECONDS
        tell(f"{done}{'' if total is None else f' of {total}'} {what}")


@contextmanager
def _bar() -> "Iterator[Progress]":
    from rich.console import Console  # noqa: PLC0415 - takes a tenth of a second, of every command
    from rich.progress import (  # noqa: PLC0415 - see above
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    told = ""

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        redirect_stdout=sys.stdout.isatty(),  # else its lines would leave the file they are meant for
        transient=True,
    )
    task = bar.add_task("", total=None, visible=False, rate="")

    def progress(done: int, total: int | None, what: str) -> None:
        nonlocal told
        if what != told:  # the next step is as fast as it is, whatever the last one was
            told = what
            bar.reset(task)
        speed = bar.tasks[0].speed
        rate = "" if speed is None else f"{speed:.0f}/s"
        bar.update(task, completed=done, total=total, description=what, visible=True, rate=rate)

    with bar:
        yield progress
