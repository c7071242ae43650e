"""Taking in files that lie on a disk, through the same ingest as what a peer sends."""

import asyncio
import errno
import os
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from pydantic import field_validator

from pacslite.archive.operation import Arguments, Progress
from pacslite.archive.receipt import Receipt
from pacslite.media.files import (
    BrokenInstanceError,
    FoundFile,
    InstanceFile,
    NotAnInstanceError,
    find_files,
    read_head,
    recognise,
)
from pacslite.model.errors import OperationStoppedError, OutOfResourcesError, RefusedError
from pacslite.model.instances import Outcome, Provenance

if TYPE_CHECKING:
    from pacslite.archive.archive import Archive

log = structlog.get_logger(__name__)

CALLING_AE_TITLE: Final = "IMPORT"
"""Stands in the provenance where a peer's AE title would."""

ADDRESS: Final = "import"
"""Stands in the provenance where a peer's address would; a path could hold patient data."""

FILES_IN_FLIGHT: Final = 32
"""Files at a time, so that their commits are one."""

MAX_TOLD: Final = 10_000
"""How many files are told of one by one."""

MAX_FULL: Final = 3 * FILES_IN_FLIGHT
"""Files refused one after another for want of room, until no further one is tried."""

FAILED: Final = "failed"
SKIPPED: Final = "skipped"

_COUNTED_AT_A_TIME: Final = 1000
_OPEN_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # opening a pipe would wait for its writer
_UNREMARKABLE: Final = frozenset({Outcome.STORED.value, Outcome.IDENTICAL.value})


class ImportArguments(Arguments):
    """What to import: absolute paths of files, and of folders with all that is in them."""

    paths: tuple[Path, ...]

    @field_validator("paths")
    @classmethod
    def _check_paths(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        if not paths or not all(path.is_absolute() for path in paths):
            raise ValueError("absolute paths are needed")
        return paths


def import_files(archive: "Archive", arguments: ImportArguments, progress: Progress) -> dict[str, Any]:
    """Keep the instances in files as if a peer had sent them; DICOMDIRs and other files are skipped.

    An instance is durable and indexed before it is counted. The archive's duplicate policy decides what
    becomes of one that is here already. Links in folders are not followed. Preamble and file meta are the
    archive's own, so no polyglot file gets in.

    Returns
    -------
    dict
        `counts` of files by what became of them (the names of `Outcome`, `failed`, `skipped`); `files`: path,
        verdict and reason of those that were not simply stored, and `untold`, how many more there were;
        `bytes` of data sets taken in; `stopped`: why not all were tried, or null.

    Raises
    ------
    OperationStoppedError
        As `progress`, once the files under way are kept.
    """
    return asyncio.run(_Import(archive, arguments.paths, progress).run())


class _Flow:
    """Holds the reading of one file while the disk does not keep up."""

    def __init__(self) -> None:
        self._is_free = asyncio.Event()
        self._is_free.set()

    def hold_reading(self, why: str) -> None:  # noqa: ARG002 - `Flow` has reasons; here there is but one
        self._is_free.clear()

    def let_reading(self, why: str) -> None:  # noqa: ARG002 - see above
        self._is_free.set()

    async def wait(self) -> None:
        await self._is_free.wait()


class _Import:
    """One import, in an event loop of its own: reading in it keeps no association waiting."""

    def __init__(self, archive: "Archive", paths: Sequence[Path], progress: Progress) -> None:
        self._archive = archive
        self._paths = paths
        self._progress = progress
        self._intake = archive.new_intake(FILES_IN_FLIGHT)
        self._association_id = f"import-{secrets.token_hex(6)}"
        self._total = 0
        self._counts: Counter[str] = Counter()
        self._told: list[dict[str, str]] = []
        self._bytes = 0
        self._full = 0
        self._stopped: OperationStoppedError | None = None
        self._why_ended: str | None = None

    async def run(self) -> dict[str, Any]:
        """Import everything and return what became of it."""
        self._total = self._count()
        files = find_files(self._paths)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(FILES_IN_FLIGHT, self._total)):
                tasks.create_task(self._work(files))
        log.info("import.ended", **self._counts, bytes=self._bytes, stopped=self._why_ended)
        if self._stopped is not None:
            raise self._stopped
        return {
            "counts": dict(self._counts),
            "bytes": self._bytes,
            "files": self._told,
            "untold": sum(n for what, n in self._counts.items() if what not in _UNREMARKABLE)
            - len(self._told),
            "stopped": self._why_ended,
        }

    def _count(self) -> int:
        number = 0
        for number, _ in enumerate(find_files(self._paths), start=1):
            if number % _COUNTED_AT_A_TIME == 0:
                self._progress(number, None, "files found")
        return number

    async def _work(self, files: Iterator[FoundFile]) -> None:
        for file in files:
            verdict, reason = await self._result(file)
            self._note(file, verdict, reason)
            if self._stopped is not None or self._why_ended is not None:
                return

    async def _result(self, file: FoundFile) -> tuple[str, str]:
        try:
            outcome = await self._take(file)
        except BrokenInstanceError as error:
            return FAILED, str(error)
        except NotAnInstanceError as error:
            return FAILED if file.is_named else SKIPPED, str(error)
        except RefusedError as error:
            return FAILED, self._refused(error)
        except OSError as error:
            return FAILED, error.strerror or str(error)
        # the other files are not to suffer from a fault of ours
        except Exception:
            log.exception("import.failed")
            return FAILED, "the archive failed at it; its log says how"
        self._full = 0
        return outcome.value, ""

    def _refused(self, error: RefusedError) -> str:
        if isinstance(error, OutOfResourcesError):
            self._full += 1
            if self._full >= MAX_FULL:
                self._why_ended = error.comment
        else:
            self._full = 0
        return f"{error.status.value:04X} {error.comment}"

    def _note(self, file: FoundFile, verdict: str, reason: str) -> None:
        self._counts[verdict] += 1
        if verdict not in _UNREMARKABLE and len(self._told) < MAX_TOLD:
            self._told.append({"path": str(file.path), "verdict": verdict, "reason": reason})
        try:
            self._progress(self._counts.total(), self._total, "files")
        except OperationStoppedError as error:
            self._stopped = error

    async def _take(self, found: FoundFile) -> Outcome:
        descriptor = _open(found)
        try:
            head = read_head(descriptor)
            file = recognise(found.path, head)
            flow = _Flow()
            receipt = self._archive.receive(file.key, self._provenance(), flow, intake=self._intake)
            try:
                receipt.write(memoryview(head.data)[file.data_set_offset :], is_own=False)
                await _feed(receipt, file, descriptor, flow)
            except BaseException:
                receipt.abort()
                raise
        finally:
            os.close(descriptor)
        outcome = await self._archive.ingest.keep(receipt)
        self._bytes += file.data_set_bytes
        return outcome

    def _provenance(self) -> Provenance:
        return Provenance(
            received_at=datetime.now(UTC),
            calling_ae_title=CALLING_AE_TITLE,
            called_ae_title=self._archive.ae_title,
            peer_address=ADDRESS,
            local_address=ADDRESS,
            association_id=self._association_id,
        )


def _open(found: FoundFile) -> int:
    try:
        return os.open(found.path, _OPEN_FLAGS if found.is_named else _OPEN_FLAGS | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotAnInstanceError("a symbolic link") from error
        raise


async def _feed(receipt: Receipt, file: InstanceFile, descriptor: int, flow: _Flow) -> None:
    """Hand what follows the head to `receipt`, chunk by chunk, unless it wants no more."""
    position = receipt.data_set_bytes
    while position < file.data_set_bytes and (buffer := receipt.buffer()) is not None:
        count = _read(descriptor, buffer[: file.data_set_bytes - position], file.data_set_offset + position)
        receipt.filled(count)
        receipt.write(buffer[:count], is_own=True)
        position += count
        await flow.wait()
    file.check_unchanged(descriptor)


def _read(descriptor: int, target: memoryview, position: int) -> int:
    count = os.preadv(descriptor, [target], position)
    if not count:
        raise OSError("the file could not be read to its end")
    return count
