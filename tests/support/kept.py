"""What a node holds after a receipt: file, index, provenance, and nothing else."""

import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pydicom import Dataset
from support.instances import BIG_ENDIAN, Sendable
from support.nodes import RunningNode

from pacslite.archive.archive import Archive
from pacslite.index.reader import IndexedInstance
from pacslite.model.instances import StoredFile
from pacslite.storage.part10 import read_part10_head

DEADLINE_SECONDS: Final = 10.0


def wait_until(condition: Callable[[], bool], why: str) -> None:
    """Wait for what the node does after its answer; fail after ten seconds."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, why
        time.sleep(0.005)


def archive_of(running: RunningNode) -> Archive:
    return next(iter(running.node.archives.values()))


def indexed(running: RunningNode, sop_instance_uid: str) -> IndexedInstance:
    found = archive_of(running).reader.instance(sop_instance_uid)
    assert found is not None
    return found


def path_of(running: RunningNode, file: StoredFile) -> Path:
    return archive_of(running).store.path(file.path)


def stored_data_set(running: RunningNode, file: StoredFile) -> bytes:
    """Return the data set of a stored file, having checked the size and offset that the index has."""
    raw = path_of(running, file).read_bytes()
    assert len(raw) == file.file_bytes
    return raw[file.data_set_offset :]


def outcomes(running: RunningNode, sop_instance_uid: str) -> list[str]:
    return [row["outcome"] for row in archive_of(running).reader.receipts(sop_instance_uid)]


def aside(running: RunningNode, sop_instance_uid: str) -> list[tuple[str, bytes]]:
    """Return role and data set of each version that is kept aside."""
    store = archive_of(running).store
    return [
        (row["role"], store.path(row["path"]).read_bytes()[row["data_set_offset"] :])
        for row in archive_of(running).reader.conflicts(sop_instance_uid)
    ]


def check_kept(running: RunningNode, instance: Sendable, *, calling: str = "MODALITY") -> IndexedInstance:
    """Check file, file meta, index row and provenance of an instance, received once or more."""
    found = indexed(running, instance.sop_instance_uid)
    assert stored_data_set(running, found.file) == instance.data_set()
    assert found.key.sop_class_uid == instance.sop_class_uid
    assert found.key.transfer_syntax_uid == instance.transfer_syntax_uid
    head = read_part10_head(path_of(running, found.file))
    assert head.key == found.key
    assert head.data_set_offset == found.file.data_set_offset
    receipt = archive_of(running).reader.receipts(instance.sop_instance_uid)[0]
    origin = head.provenance
    assert origin is not None
    assert found.calling_ae_title == receipt["calling_ae_title"] == origin.calling_ae_title == calling
    assert receipt["received_at"] == found.received_at == origin.received_at
    assert receipt["digest"] == found.file.digest
    assert receipt["association_id"] == origin.association_id != ""
    assert receipt["peer_address"].startswith("127.0.0.1:")
    return found


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # just discarded
        return 0


def unnamed_files(running: RunningNode) -> set[Path]:
    """Return the store's files in use that the index does not name."""
    store = archive_of(running).store
    files = {path for path in store.folder.rglob("*.dcm") if _size_bytes(path)}
    return files - {store.path(path) for path in running.stored_paths()}


def check_nothing_else(running: RunningNode) -> None:
    """Check that the store's files are those that the index names, as soon as discarded ones are removed."""
    wait_until(lambda: not unnamed_files(running), "a file has no row")
    for path in running.stored_paths():
        assert _size_bytes(archive_of(running).store.path(path)), f"{path} has a row and no file"
    folder = running.settings.data_folder
    known = {"lock", "archives", "control.sock"}
    assert {path.name for path in folder.iterdir()} <= known
    inside = {path.name for path in (folder / "archives" / "main").iterdir()}
    assert inside <= {"store", "index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "unparsable"}


def element_values(dataset: Dataset) -> dict[int, Any]:
    """Return what pydicom reads, in one byte order and without what encoders add or take away."""
    values = {int(each.tag): each.value for each in dataset if each.tag.element and each.tag != 0xFFFC_FFFC}
    if dataset.file_meta.TransferSyntaxUID == BIG_ENDIAN:
        for tag in (int(each.tag) for each in dataset if each.VR == "OW"):
            words = array("H", values[tag])
            words.byteswap()
            values[tag] = words.tobytes()
    return {tag: value.rstrip(b"\0") if isinstance(value, bytes) else value for tag, value in values.items()}
