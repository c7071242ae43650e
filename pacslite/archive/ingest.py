"""Keeping what was received: durable, understood, indexed; only then is it acknowledged."""

import asyncio
import contextlib
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from pacslite.archive.inspection import compare, inspect
from pacslite.archive.receipt import Receipt
from pacslite.archive.scan import ByteSource, ScanLimits, file_reader, scan_head, scan_header, validate
from pacslite.archive.scan.encodings import encoding_of
from pacslite.index.entries import Comparison, IndexEntry, Inspection, Question, Recorded
from pacslite.index.failures import CommitInDoubtError
from pacslite.index.recording import record_receipt
from pacslite.index.writer import IndexWriter
from pacslite.model.errors import (
    CannotUnderstandError,
    ChangedDemographicsError,
    DuplicateInstanceError,
    RefusedError,
)
from pacslite.model.header import InstanceHeader
from pacslite.model.instances import DuplicatePolicy, InstanceKey, Outcome, Provenance, StoredFile
from pacslite.storage.store import Store

_OUTCOMES_WITHOUT_FILE: Final = (Outcome.IDENTICAL, Outcome.REFUSED, Outcome.REFUSED_PATIENT)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class InstanceKept:
    """An instance that was acknowledged with Success."""

    key: InstanceKey
    provenance: Provenance
    outcome: Outcome
    path: Path


@dataclass(frozen=True, slots=True)
class IngestRules:
    """What an archive does with what arrives.

    Parameters
    ----------
    policy
        For a SOP Instance UID that comes again with other content.
    limits
        Of the scan.
    unparsable_folder
        Where data sets that do not parse are copied to; None: nowhere.
    refuses_changed_demographics
        Whether an instance that says otherwise of its patient than the index is refused.
    """

    policy: DuplicatePolicy
    limits: ScanLimits
    unparsable_folder: Path | None
    refuses_changed_demographics: bool = False


class Ingest:
    """Turns complete receipts into instances of the archive.

    Parameters
    ----------
    store, writer
        Of the archive.
    rules
        Of the archive.
    """

    def __init__(self, store: Store, writer: IndexWriter, rules: IngestRules) -> None:
        self._store = store
        self._writer = writer
        self._rules = rules
        self._observers: list[Callable[[InstanceKept], None]] = []
        self.outcomes: Counter[Outcome] = Counter()
        """How often each outcome came since the archive was started."""

    def observe(self, observer: Callable[[InstanceKept], None]) -> None:
        """Call `observer` in the event loop for each instance kept; it cannot change the answer."""
        self._observers.append(observer)

    async def keep(self, receipt: Receipt) -> Outcome:
        """Make `receipt` durable and record it; when this returns, Success is a promise that holds.

        Raises
        ------
        OutOfResourcesError
            No room, over a limit, or the disk or the index failed: the peer sees A700.
        CannotUnderstandError
            The data set does not parse, or a UID is missing or is none: C000.
        InstanceMismatchError, ClassMismatchError
            It is of another SOP Instance or Class than the command says: A900, A901.
        DuplicateInstanceError
            It is here with other content, and the policy refuses: 0111.
        ChangedDemographicsError
            It says otherwise of its patient than the index, and the archive refuses that: A779.
        """
        try:
            file, header = await self._make_durable(receipt)
        except BaseException:
            receipt.abort()
            raise
        try:
            recorded = await self._record(receipt, file, header)
        except (CommitInDoubtError, asyncio.CancelledError):
            receipt.settle()  # the index may name the file: recovery will know
            raise
        except BaseException:
            receipt.abort()
            raise
        receipt.settle()
        return self._conclude(receipt, file, recorded)

    async def _make_durable(self, receipt: Receipt) -> tuple[StoredFile, InstanceHeader]:
        receipt.finish()
        syncing = receipt.file.finish()
        header = self._scan_head(receipt)  # while the disk syncs
        if header is not None:
            validate(header, receipt.key)
        file = await asyncio.wrap_future(syncing)
        if header is None:
            header = await self._scan_file(receipt, file)
            validate(header, receipt.key)
        return file, header

    def _scan_head(self, receipt: Receipt) -> InstanceHeader | None:
        syntax = receipt.key.transfer_syntax_uid
        if encoding_of(syntax).is_deflated:
            return None  # inflating takes too long for the event loop
        try:
            return scan_head(bytes(receipt.head), receipt.data_set_bytes, syntax, self._rules.limits)
        except CannotUnderstandError:
            if self._rules.unparsable_folder is None:
                raise
            return None

    async def _scan_file(self, receipt: Receipt, file: StoredFile) -> InstanceHeader:
        def scan(descriptor: int, data_set_offset: int) -> InstanceHeader:
            reader = file_reader(descriptor, data_set_offset)
            source = ByteSource(bytes(receipt.head), file.data_set_bytes, reader)
            try:
                return scan_header(source, receipt.key.transfer_syntax_uid, self._rules.limits)
            except CannotUnderstandError:
                self._keep_unparsable(file)
                raise

        return await asyncio.wrap_future(receipt.file.read(scan))

    def _keep_unparsable(self, file: StoredFile) -> None:
        folder = self._rules.unparsable_folder
        if folder is None:
            return
        name = file.path.replace("/", "-")
        with contextlib.suppress(OSError):  # the sender is told all the same
            folder.mkdir(mode=0o700, exist_ok=True)
            shutil.copyfile(self._store.path(file.path), folder / name)
            log.warning("instance.kept_unparsable", file=name)

    async def _record(self, receipt: Receipt, file: StoredFile, header: InstanceHeader) -> Recorded:
        comparison: Comparison | None = None
        inspection: Inspection | None = None
        while True:
            entry = IndexEntry(
                header=header,
                key=receipt.key,
                file=file,
                provenance=receipt.provenance,
                policy=self._rules.policy,
                comparison=comparison,
                inspection=inspection,
                refuses_changed_demographics=self._rules.refuses_changed_demographics,
            )
            recorded = await asyncio.wrap_future(self._submit(entry))
            if recorded.existing is None or recorded.question is None:
                return recorded
            if recorded.question is Question.COMPARE:
                comparison = await self._compare(recorded.existing, file)
            else:
                inspection = await self._inspect(recorded.existing)

    def _submit(self, entry: IndexEntry) -> Future[Recorded]:
        return self._writer.submit(lambda transaction: record_receipt(transaction, entry))

    async def _compare(self, existing: StoredFile, newcomer: StoredFile) -> Comparison:
        store, limits = self._store, self._rules.limits
        is_doubting = self._rules.policy is DuplicatePolicy.REFUSE
        return await asyncio.wrap_future(
            store.run(lambda: compare(store, existing, newcomer, limits, is_doubting=is_doubting))
        )

    async def _inspect(self, existing: StoredFile) -> Inspection:
        return await asyncio.wrap_future(self._store.run(lambda: inspect(self._store, existing)))

    def _conclude(self, receipt: Receipt, file: StoredFile, recorded: Recorded) -> Outcome:
        outcome = recorded.outcome
        if outcome is None:
            raise RuntimeError("the index decided nothing")
        self.outcomes[outcome] += 1
        if outcome in _OUTCOMES_WITHOUT_FILE:
            receipt.file.discard()
            file = recorded.existing or file
        else:
            receipt.file.keep()
        if outcome is Outcome.HEALED:
            log.warning("instance.healed", file=file.path)
        refusal = _refusal(recorded)
        if refusal is not None:
            raise refusal
        self._announce(receipt, file, outcome)
        return outcome

    def _announce(self, receipt: Receipt, file: StoredFile, outcome: Outcome) -> None:
        if not self._observers:
            return
        kept = InstanceKept(receipt.key, receipt.provenance, outcome, self._store.path(file.path))
        for observer in self._observers:
            try:
                observer(kept)
            # an observer is not ours, and the instance is kept whatever it does
            except Exception:
                log.exception("observer.failed")


def _refusal(recorded: Recorded) -> RefusedError | None:
    if recorded.outcome is Outcome.REFUSED:
        return DuplicateInstanceError("this SOP Instance is here with other content")
    if recorded.outcome is Outcome.REFUSED_PATIENT:
        return ChangedDemographicsError(
            "name, birth date or sex are not those of this Patient ID",
            offending_tags=recorded.differing_tags,
        )
    return None
