"""Provenance: one row for each receipt, whatever became of it."""

from typing import Final

from sqlalchemy import Connection, bindparam, func, insert, select

from pacslite.index.entries import IndexEntry
from pacslite.index.rows import insert_row
from pacslite.index.tables import receipt
from pacslite.model.instances import Outcome
from pacslite.model.text import clean

_INSERT: Final = insert(receipt)
_BROUGHT_A_FILE: Final = (Outcome.STORED, Outcome.HEALED, Outcome.KEPT_ASIDE, Outcome.REPLACED)
_LATEST: Final = select(func.max(receipt.c.pk)).where(receipt.c.instance_pk == bindparam("key"))
_LATEST_OF_VERSION: Final = _LATEST.where(
    receipt.c.digest == bindparam("same"),
    receipt.c.transfer_syntax_uid == bindparam("syntax"),
    receipt.c.outcome.in_([outcome.value for outcome in _BROUGHT_A_FILE]),
)


def record(connection: Connection, entry: IndexEntry, instance_pk: int, outcome: Outcome) -> int:
    """Insert the receipt and return its primary key."""
    return insert_row(connection, _INSERT, receipt_row(entry, instance_pk, outcome))


def receipt_row(entry: IndexEntry, instance_pk: int, outcome: Outcome) -> dict[str, object]:
    """Return the row of a receipt."""
    origin = entry.provenance
    return {
        "instance_pk": instance_pk,
        "outcome": outcome.value,
        "digest": entry.file.digest,
        "transfer_syntax_uid": entry.key.transfer_syntax_uid,
        "received_at": origin.received_at,
        "calling_ae_title": origin.calling_ae_title,
        "called_ae_title": origin.called_ae_title,
        "peer_address": origin.peer_address,
        "local_address": origin.local_address,
        # What a peer says of itself may break every rule; PS3.7 D.3.3.2 gives the lengths.
        "implementation_class_uid": clean(origin.implementation_class_uid)[:64],
        "implementation_version_name": clean(origin.implementation_version_name)[:16],
        "association_id": origin.association_id,
        "move_originator_ae_title": clean(origin.move_originator_ae_title)[:16],
        "move_originator_message_id": origin.move_originator_message_id,
    }


def of_version(connection: Connection, instance_pk: int, digest: str, transfer_syntax_uid: str) -> int:
    """Return the primary key of the receipt by which the file of a version came."""
    parameters = {"key": instance_pk, "same": digest, "syntax": transfer_syntax_uid}
    found = connection.execute(_LATEST_OF_VERSION, parameters).scalar()
    # An index that was rebuilt from the files may know less of the past: any receipt tells more than none.
    return int(found or connection.execute(_LATEST, {"key": instance_pk}).scalar_one())
