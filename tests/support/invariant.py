"""What must hold of an archive's folder, whatever happened to the node that wrote it."""

import hashlib
import json
import os
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support.acknowledged_sender import Ledger

from pacslite.archive.identity import IDENTITY_NAME
from pacslite.storage.segments import SEAL_NAME

BOOKKEEPING = frozenset({SEAL_NAME, IDENTITY_NAME})

_NAMED = """
    SELECT instance.sop_instance_uid, named.path, named.file_bytes, named.data_set_offset
    FROM (
        SELECT pk AS instance_pk, path, file_bytes, data_set_offset FROM instance
        WHERE path IS NOT NULL
        UNION ALL SELECT instance_pk, path, file_bytes, data_set_offset FROM conflict
    ) AS named JOIN instance ON instance.pk = named.instance_pk
    WHERE named.path IS NOT NULL
"""
_DOOMED = "SELECT json_extract(payload, '$.paths') FROM job WHERE kind = 'remove-files'"


@dataclass(frozen=True)
class Row:
    """A file that the index names, for an instance or for a version that is kept aside."""

    uid: str
    path: str
    file_bytes: int
    data_set_offset: int


def archive_folder(data_folder: Path) -> Path:
    return data_folder / "archives" / "main"


@contextmanager
def opened_index(data_folder: Path) -> Iterator[sqlite3.Connection]:
    uri = f"file:{archive_folder(data_folder)}/index.sqlite?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as index:
        yield index


def rows_of(data_folder: Path) -> list[Row]:
    """Return what the index names, after checking that the database is sound."""
    with opened_index(data_folder) as index:
        assert index.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert index.execute("PRAGMA foreign_key_check").fetchall() == []
        return [Row(*values) for values in index.execute(_NAMED)]


def doomed_paths(data_folder: Path) -> set[str]:
    """Return the files that a job is still to remove."""
    with opened_index(data_folder) as index:
        return {path for (paths,) in index.execute(_DOOMED) for path in json.loads(paths)}


def check_archive(
    data_folder: Path, ledger: Ledger, *, is_running: bool, may_be_gone: Collection[str] = ()
) -> None:
    """Check what was promised.

    Every acknowledged data set is in the index and on disk byte for byte; every row's file holds what was
    sent, whole; the store has no other files than those that rows name, its own bookkeeping and, while a node
    runs, the empty ones that it has made ahead and those of deleted instances that a job is to remove.

    Parameters
    ----------
    may_be_gone
        SOP Instances whose deletion was asked for and not yet confirmed.
    """
    rows = rows_of(data_folder)
    store = archive_folder(data_folder) / "store"
    kept = _kept(store, rows)
    for uid, digests in ledger.acknowledged.items():
        is_there = digests <= kept[uid]
        assert is_there or uid in may_be_gone, f"acknowledged and lost: {uid}"
    _check_nothing_else_is_kept(kept, ledger.sent)
    doomed = doomed_paths(data_folder)
    assert is_running or not doomed, "files are left to be removed"
    strays = set(_strays(store, {row.path for row in rows} | doomed, is_running=is_running))
    assert not strays, f"files without a row: {sorted(strays)}"


def stored_files(data_folder: Path) -> set[str]:
    """Return the files of the store, other than its bookkeeping, relative to it."""
    store = archive_folder(data_folder) / "store"
    files = (path for path in store.rglob("*") if path.is_file() and path.name not in BOOKKEEPING)
    return {str(path.relative_to(store)) for path in files}


def _kept(store: Path, rows: list[Row]) -> dict[str, set[str]]:
    assert len({row.path for row in rows}) == len(rows), "two rows name one file"
    kept: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        data = (store / row.path).read_bytes()
        assert len(data) == row.file_bytes, row
        assert data[128:132] == b"DICM", row
        kept[row.uid].add(hashlib.sha256(data[row.data_set_offset :]).hexdigest())
    return kept


def _check_nothing_else_is_kept(kept: Mapping[str, set[str]], sent: Mapping[str, set[str]]) -> None:
    for uid, digests in kept.items():
        assert digests <= sent[uid], f"kept, but never sent so: {uid}"


def _strays(store: Path, named: set[str], *, is_running: bool) -> Iterator[str]:
    for folder, _, names in os.walk(store):
        for path in (Path(folder, name) for name in names):
            name = str(path.relative_to(store))
            if name in named or path.name in BOOKKEEPING:
                continue
            with suppress(FileNotFoundError):  # a node that runs clears up
                is_made_ahead = not path.stat().st_size and not (path.parent / SEAL_NAME).exists()
                if not (is_running and is_made_ahead):
                    yield name
