"""Storage of files at a peer: which associations it takes, and what became of each file (PS3.4 B)."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, unique
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import structlog

from pacslite.client.association import MAX_CONTEXTS, Association, open_association
from pacslite.media.files import (
    BrokenInstanceError,
    FoundFile,
    InstanceFile,
    NotAnInstanceError,
    find_files,
    read_instance_file,
)
from pacslite.model.errors import AssociationError, ContextNotAcceptedError
from pacslite.model.instances import InstanceKey
from pacslite.settings.schema import AssociationSettings, PeerSettings
from pacslite.upperlayer.negotiation import ProposedContext

log = structlog.get_logger(__name__)

BATCH_FILES: Final = 1000
"""Files whose presentation contexts are negotiated together."""

MAX_ATTEMPTS: Final = 2
"""How often a file is sent whose association is lost before the peer answers."""

MAX_LOSSES: Final = 4
"""Associations lost one after another without an answer in between, until no further one is tried."""

RETRY_SECONDS: Final = 0.5
"""Pause after a loss; after the second one twice as long, and so on."""


@unique
class Verdict(Enum):
    """What became of a file."""

    STORED = "stored"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of one file.

    Parameters
    ----------
    path
        The file.
    verdict
        WARNING: stored, with a reservation (Bxxx). SKIPPED: found in a folder, and no DICOM instance.
    reason
        Why it is not simply stored; the peer's Error Comment if it sent one.
    status
        (0000,0900) of the response; None when there was none.
    key
        What instance it is; None where it holds none.
    """

    path: Path
    verdict: Verdict
    reason: str = ""
    status: int | None = None
    key: InstanceKey | None = None


class SendListener(Protocol):
    """Is told how sending goes; called in the event loop."""

    def sent(self, byte_count: int) -> None:
        """Take note that so many more bytes of data sets are on their way."""

    def finished(self, result: SendResult) -> None:
        """Take note of what became of a file."""


@dataclass(frozen=True, slots=True)
class SendSummary:
    """What became of all files.

    Parameters
    ----------
    counts
        Files by verdict.
    error
        What ended the last association, if files were given up because of it.
    """

    counts: Counter[Verdict] = field(default_factory=Counter)
    error: AssociationError | None = None


async def send(
    peer: PeerSettings,
    paths: Sequence[Path],
    *,
    calling_ae_title: str,
    settings: AssociationSettings,
    listener: SendListener,
    association_count: int = 1,
) -> SendSummary:
    """Send files, and what is in folders, to `peer`: each in its own transfer syntax, byte for byte.

    As many associations follow one another as it takes for 128 presentation contexts each. When one is lost,
    another is asked for, and the file that was under way is sent once more.

    Parameters
    ----------
    association_count
        How many associations send at a time; a peer that lets fewer in gets fewer.

    Raises
    ------
    AssociationError
        The peer did not let even one association in; see `open_association`. Later on, the summary has the
        error, and every file has its result.
    """
    sending = _Sending(peer, calling_ae_title, settings, listener)
    files = find_files(paths)
    while batch := await asyncio.to_thread(_read_batch, files):
        sending.take_note(result for result in batch if isinstance(result, SendResult))
        instances = [file for file in batch if isinstance(file, InstanceFile)]
        for group in _groups(instances):
            await sending.send_group(group, association_count)
    return SendSummary(sending.counts, sending.error)


def _read_batch(files: Iterator[FoundFile]) -> list[InstanceFile | SendResult]:
    return [_recognise(file) for file in islice(files, BATCH_FILES)]


def _recognise(file: FoundFile) -> InstanceFile | SendResult:
    try:
        return read_instance_file(file.path)
    except BrokenInstanceError as error:
        return SendResult(file.path, Verdict.FAILED, str(error))
    except NotAnInstanceError as error:
        return SendResult(file.path, Verdict.FAILED if file.is_named else Verdict.SKIPPED, str(error))
    except OSError as error:
        return SendResult(file.path, Verdict.FAILED, error.strerror or str(error))


def _pair(file: InstanceFile) -> tuple[str, str]:
    return file.key.sop_class_uid, file.key.transfer_syntax_uid


def _groups(files: Sequence[InstanceFile]) -> Iterator[list[InstanceFile]]:
    """Yield the files in groups that need no more contexts than one association has (PS3.8 9.3.2.2)."""
    numbers = {pair: number for number, pair in enumerate(dict.fromkeys(map(_pair, files)))}
    groups: dict[int, list[InstanceFile]] = {}
    for file in files:
        groups.setdefault(numbers[_pair(file)] // MAX_CONTEXTS, []).append(file)
    yield from groups.values()


class _Sending:
    """One call of `send`."""

    def __init__(
        self,
        peer: PeerSettings,
        calling_ae_title: str,
        settings: AssociationSettings,
        listener: SendListener,
    ) -> None:
        self.counts: Counter[Verdict] = Counter()
        self.error: AssociationError | None = None
        self._peer = peer
        self._calling_ae_title = calling_ae_title
        self._settings = settings
        self._listener = listener
        self._attempts: Counter[Path] = Counter()
        self._was_let_in = False
        self._open_count = 0
        self._losses = 0

    def take_note(self, results: Iterable[SendResult]) -> None:
        """Count and report `results`."""
        for result in results:
            self.counts[result.verdict] += 1
            self._listener.finished(result)

    async def send_group(self, files: Sequence[InstanceFile], association_count: int) -> None:
        """Send files that fit on one association, on one or several at a time."""
        queue = deque(files)
        contexts = [
            ProposedContext(sop_class, (syntax,))
            for sop_class, syntax in dict.fromkeys(_pair(file) for file in files)
        ]
        if association_count == 1:
            await self._work(queue, contexts)
        else:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(association_count, len(files))):
                    tasks.create_task(self._work(queue, contexts))
        if self.error is not None and not self._was_let_in:
            raise self.error
        self.take_note(_failure(file, f"not sent: {self.error}") for file in queue)

    async def _work(self, queue: deque[InstanceFile], contexts: Sequence[ProposedContext]) -> None:
        while queue and self.error is None:
            try:
                await self._use_association(queue, contexts)
            except AssociationError as error:
                if self._open_count:
                    return  # the others do the rest
                await self._note_loss(error)

    async def _use_association(self, queue: deque[InstanceFile], contexts: Sequence[ProposedContext]) -> None:
        async with open_association(
            self._peer, contexts, calling_ae_title=self._calling_ae_title, settings=self._settings
        ) as association:
            self._was_let_in = True
            self._open_count += 1
            try:
                while queue and association.is_open:
                    await self._send_next(association, queue)
            finally:
                self._open_count -= 1

    async def _note_loss(self, error: AssociationError) -> None:
        self._losses += 1
        if self._losses >= MAX_LOSSES or not self._was_let_in:
            self.error = error
        else:
            log.warning("association.lost", peer=str(self._peer), why=str(error))
            await asyncio.sleep(RETRY_SECONDS * self._losses)

    async def _send_next(self, association: Association, queue: deque[InstanceFile]) -> None:
        file = queue.popleft()
        try:
            response = await association.store(file.key, _Outgoing(file, self._listener))
        except ContextNotAcceptedError as error:
            result = _failure(file, str(error))
        except OSError as error:
            result = _failure(file, error.strerror or str(error))
        except AssociationError as error:
            self._attempts[file.path] += 1
            if self._attempts[file.path] < MAX_ATTEMPTS:
                queue.appendleft(file)
            else:
                self.take_note([_failure(file, str(error))])
            raise
        else:
            self._losses = 0
            verdict = Verdict.FAILED
            if response.is_success:
                verdict = Verdict.STORED
            elif response.is_warning:
                verdict = Verdict.WARNING
            result = SendResult(file.path, verdict, response.comment, response.status, file.key)
        self.take_note([result])


class _Outgoing:
    """A file's data set on its way."""

    def __init__(self, file: InstanceFile, listener: SendListener) -> None:
        self.data_set_bytes = file.data_set_bytes
        self.fill = file.fill
        self.sent = listener.sent


def _failure(file: InstanceFile, reason: str) -> SendResult:
    return SendResult(file.path, Verdict.FAILED, reason, key=file.key)
