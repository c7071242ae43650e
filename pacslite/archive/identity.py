"""Whether index and store belong together: recovery trusts the index to name every acknowledged file."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pacslite.archive.recovery import NamedPaths, segments_of
from pacslite.index.identity import identity_of_store, names_files_of, remember_store
from pacslite.index.transaction import WriteTransaction
from pacslite.model.errors import DataFolderError
from pacslite.storage.folders import make_folder, sync_folder
from pacslite.storage.segments import SEAL_NAME, left_alone

IDENTITY_NAME: Final = "identity"


def settle_identity(store_folder: Path, node_name: str) -> Callable[[WriteTransaction], str | None]:
    """Return the index command that gives a new store and a new index one identity.

    Its result is the identity to write with `write_identity`, or None when the store has it already.

    Raises
    ------
    DataFolderError
        From the command: the store belongs to another index, which was lost or moved; or the index to a
        store that is not there.
    """
    found = read_identity(store_folder / node_name)

    def command(transaction: WriteTransaction) -> str | None:
        known = identity_of_store(transaction, node_name)
        if found is not None and found != known:
            raise DataFolderError(_explain(store_folder))
        if found is None and names_files_of(transaction, node_name):
            raise DataFolderError(
                f"{store_folder} lacks the instances that the index knows: the store was lost, or its disk "
                "is not mounted"
            )
        if known is None:
            known = secrets.token_hex(16)
            remember_store(transaction, node_name, known)
        return known if found is None else None

    return command


def write_identity(store_folder: Path, node_name: str, identity: str) -> None:
    """Write the identity into the node's folder of the store, durably.

    Raises
    ------
    OSError
        The store cannot be written to.
    """
    folder = store_folder / node_name
    make_folder(folder)
    draft = folder / f"{IDENTITY_NAME}.new"
    with draft.open("w") as file:
        file.write(f"{identity}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / IDENTITY_NAME)
    sync_folder(folder)


def check_index_is_current(store_folder: Path, node_name: str, named_paths: NamedPaths) -> None:
    """Verify that the index is not older than the store, as one put back from a backup would be.

    The newest segment whose files all had a row must still have them; what its seal excepts had none.

    Raises
    ------
    DataFolderError
        It has not.
    """
    sealed = [path for path in segments_of(store_folder / node_name) if (path / SEAL_NAME).exists()]
    for segment in reversed(sealed):
        prefix = f"{node_name}/{segment.name}/"
        without_row = {SEAL_NAME, *left_alone(segment)}
        paths = {prefix + path.name for path in segment.iterdir() if path.name not in without_row}
        if paths:
            if not paths <= named_paths(prefix):
                raise DataFolderError(_explain(store_folder))
            return


def read_identity(folder: Path) -> str | None:
    """Return the identity that lies in a node's folder of the store, or None.

    Raises
    ------
    OSError
        It cannot be read.
    """
    try:
        return (folder / IDENTITY_NAME).read_text().strip()
    except FileNotFoundError:
        return None


def _explain(store_folder: Path) -> str:
    return (
        f"{store_folder} holds instances that the index does not know: the index was lost, or is older "
        "than the store; put back the one that belongs to it, or let `pacslite reindex` make a new one from "
        "the files"
    )
