"""An index to test with, on either database, and receipts to put into it."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from pacslite.index import migrate
from pacslite.index.engine import open_reader_engine, open_writer_engine
from pacslite.index.entries import Comparison, IndexEntry, Inspection, Question, Recorded
from pacslite.index.reader import IndexReader
from pacslite.index.recording import record_receipt
from pacslite.index.transaction import WriteTransaction
from pacslite.index.writer import IndexWriter
from pacslite.model.header import InstanceHeader, RawElement
from pacslite.model.instances import DuplicatePolicy, InstanceKey, Provenance, StoredFile
from pacslite.settings.schema import IndexSettings

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

_numbers = itertools.count(1)


def make_header(charset: str = "ISO_IR 192", **values: str) -> InstanceHeader:
    """Return a header of these attributes; the values are encoded as UTF-8."""
    elements = {0x0008_0005: RawElement("CS", charset.encode())}
    for keyword, value in values.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        elements[tag] = RawElement(dictionary_VR(tag), value.encode())
    return InstanceHeader(elements, EXPLICIT)


def make_entry(
    uid: str = "1.2.3.1.1.1",
    *,
    series: str = "1.2.3.1.1",
    study: str = "1.2.3.1",
    content: str = "",
    sop_class: str = CT,
    transfer_syntax: str = EXPLICIT,
    sender: str = "MODALITY",
    policy: DuplicatePolicy = DuplicatePolicy.KEEP_FIRST,
    **values: str,
) -> IndexEntry:
    """Return a receipt of an instance whose digest depends on `content`, in a file of its own."""
    attributes = {"PatientID": "P1", "PatientName": "Doe^Jane", "Modality": "CT", **values}
    header = make_header(
        SOPClassUID=sop_class,
        SOPInstanceUID=uid,
        SeriesInstanceUID=series,
        StudyInstanceUID=study,
        **attributes,
    )
    number = next(_numbers)
    return IndexEntry(
        header,
        InstanceKey(sop_class, uid, transfer_syntax),
        StoredFile(f"node1/0001/{number:08}.dcm", 2**33 + number, 800, f"{content or uid:0>32.32}"),
        Provenance(
            datetime.now(UTC),
            sender,
            "PACSLITE",
            "127.0.0.1:4000",
            "127.0.0.1:11112",
            "1.2",
            "V1",
            f"a{number}",
        ),
        policy,
    )


class Index:
    """A writer and a reader on one database."""

    def __init__(self, url: str, settings: IndexSettings | None = None) -> None:
        self.url = url
        settings = settings or IndexSettings()
        self.writer_engine = open_writer_engine(url, busy_seconds=settings.busy_seconds)
        self.reader_engine = open_reader_engine(url)
        self.writer = IndexWriter(self.writer_engine, settings)
        self.reader = IndexReader(self.reader_engine)
        self.writer.start()

    def close(self) -> None:
        self.writer.stop()
        self.reader_engine.dispose()
        self.writer_engine.dispose()

    def is_healthy(self) -> bool:
        return self.writer.is_healthy

    def submit(self, entry: IndexEntry) -> Future[Recorded]:
        return self.writer.submit(lambda transaction: record_receipt(transaction, entry))

    def receive(self, entry: IndexEntry) -> Recorded:
        """Record `entry`; answer what the index asks: contents differ, and files are whole."""
        return self.receive_over(entry, is_whole=True)

    def receive_over(self, entry: IndexEntry, *, is_whole: bool) -> Recorded:
        """Record `entry`; contents differ, and files that the index has are whole or not."""
        recorded = self.submit(entry).result(timeout=20)
        while recorded.outcome is None:
            assert recorded.existing is not None
            if recorded.question is Question.INSPECT:
                entry = replace(entry, inspection=Inspection(recorded.existing.path, is_whole))
            else:
                comparison = Comparison(recorded.existing.digest, is_same_content=False)
                entry = replace(entry, comparison=comparison)
            recorded = self.submit(entry).result(timeout=20)
        return recorded

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Keep the writer busy, so that what is submitted meanwhile becomes one group."""
        gate, entered = threading.Event(), threading.Event()

        def wait(_: WriteTransaction) -> None:
            entered.set()
            gate.wait(timeout=20)

        future = self.writer.submit(wait)
        assert entered.wait(timeout=20)
        try:
            yield
        finally:
            gate.set()
        future.result(timeout=20)

    def run(self, command: Callable[[WriteTransaction], Any]) -> Any:
        return self.writer.submit(command).result(timeout=20)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'index.sqlite'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def any_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, once for each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def index_url(any_url: str) -> str:
    """The URL of an index without rows, once for each kind of database."""
    migrate.upgrade(any_url)
    return any_url


@pytest.fixture
def index(index_url: str) -> Iterator[Index]:
    """A running index, once for each kind of database."""
    opened = Index(index_url)
    yield opened
    opened.close()
