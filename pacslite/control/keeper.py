"""How a keeper's command reaches the archives: through the node that runs, or alone."""

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import structlog

from pacslite.archive.archive import Archive
from pacslite.archive.handlers import handlers_of
from pacslite.archive.jobs import do_due_jobs
from pacslite.archive.operation import Progress, ignore_progress
from pacslite.archive.operations import operation_of
from pacslite.control.client import NodeClient
from pacslite.model.errors import ConfigurationError, DataFolderError, OutOfResourcesError
from pacslite.settings.schema import Settings
from pacslite.storage.filesystem import check_filesystem
from pacslite.storage.lock import DataFolderLock

log = structlog.get_logger(__name__)


class Keeper(Protocol):
    """Carries out operations, see `pacslite.archive.operations`."""

    @property
    def via(self) -> str:
        """Who does it, to be told: `node process 123` or `no node runs`."""

    @property
    def is_alone(self) -> bool:
        """Whether no node runs, so that this process holds the data folder."""

    def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        progress: Progress = ignore_progress,
        archive: str | None = None,
    ) -> Any:
        """Carry out the operation `name` on an archive (None: the first one) and return its result.

        Raises
        ------
        PacsliteError
            As the operation says, whether it ran here or in the node.
        """


class _LoneKeeper:
    """Holds the data folder in place of a node; starts an archive when it is first asked for."""

    via = "no node runs"
    is_alone = True

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._archives: dict[str, Archive] = {}

    def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        progress: Progress = ignore_progress,
        archive: str | None = None,
    ) -> Any:
        """Carry out an operation in this thread."""
        operation = operation_of(name)
        parsed = operation.parse(arguments)
        return operation.run(self._archive(archive or self._settings.archives[0].name), parsed, progress)

    def _archive(self, name: str) -> Archive:
        if name not in self._archives:
            found = [settings for settings in self._settings.archives if settings.name == name]
            if not found:
                raise ConfigurationError(f"there is no archive {name!r}")
            archive = Archive(self._settings, found[0])
            archive.start()
            self._stack.callback(archive.stop)
            self._stack.callback(self._do_due_jobs, archive)
            self._archives[name] = archive
        return self._archives[name]

    def _do_due_jobs(self, archive: Archive) -> None:
        """Do at once what an operation promised, in place of the node, as far as it needs no network."""
        due = do_due_jobs(archive, handlers_of(archive), self._settings.jobs)
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="pacslite-jobs") as executor:
                executor.submit(asyncio.run, due).result()  # a thread of its own: the caller may have a loop
        except OutOfResourcesError as error:  # they wait; what was asked for has its own end
            log.warning("jobs.left", archive=archive.name, why=str(error))


@contextmanager
def open_keeper(settings: Settings) -> Iterator[Keeper]:
    """Yield who carries out operations: the node that runs on the data folder, or this process.

    Without a node the data folder is this process's until the end, its archives are started without a
    network, each when it is first asked for, and closed at the end, when the jobs that are due and need no
    network are done.

    Raises
    ------
    DataFolderError
        The folder cannot be used, or is held by a process that does not answer; the text names its PID.
    """
    client = NodeClient.find(settings.data_folder)
    if client is not None:
        yield client
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(DataFolderLock(settings.data_folder))
        except DataFolderError as error:
            client = NodeClient.find(settings.data_folder)  # a node that was just starting
            if client is None:
                raise DataFolderError(f"{error}, which takes no commands (yet)") from error
            yield client
            return
        check_filesystem(settings.data_folder, is_unsafe_allowed=settings.storage.allow_unsafe_filesystem)
        yield _LoneKeeper(settings, stack)
