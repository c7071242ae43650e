"""What a keeper can do about conflicts: see both versions, make either the archive's, let one go."""

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from pacslite.archive.compare import compare_contents
from pacslite.archive.content import open_content
from pacslite.archive.inspection import is_whole
from pacslite.archive.operation import Arguments, Progress
from pacslite.archive.removal import remove_now
from pacslite.archive.values import shown_values
from pacslite.index import conflicts
from pacslite.index.entries import IndexEntry
from pacslite.index.evidence import Conflict, ConflictFilter, Version, find_conflict, find_conflicts
from pacslite.model.errors import CannotUnderstandError, OperationError, OutOfResourcesError
from pacslite.model.instances import DuplicatePolicy, InstanceKey

if TYPE_CHECKING:
    from pacslite.archive.archive import Archive

log = structlog.get_logger(__name__)


class ConflictArguments(Arguments):
    """Which conflict is meant."""

    number: int


def list_conflicts(archive: "Archive", wanted: ConflictFilter, *, limit: int) -> list[dict[str, Any]]:
    """Return the first conflicts that meet all conditions, oldest first."""
    return [_told(each) for each in archive.reader.read(partial(find_conflicts, wanted=wanted, limit=limit))]


def show_conflict(archive: "Archive", number: int, *, with_values: bool) -> dict[str, Any]:
    """Tell everything about a conflict; both files are read.

    Returns
    -------
    dict
        As in the list, and for each version `is_whole`; `differing`: name, and `with_values`, which are
        patient data, what each version has there, null where it has nothing.

    Raises
    ------
    NotFoundError
        There is no such conflict.
    """
    found = archive.reader.read(partial(find_conflict, pk=number))
    told = _told(found)
    for name, version in (("current", found.current), ("aside", found.aside)):
        told[name]["is_whole"] = is_whole(archive.store, version.file)
    names = _differing(archive, found)
    differing: list[dict[str, str | None]] = [{"name": name} for name in names]
    if with_values:
        current, aside = (_values(archive, each, names) for each in (found.current, found.aside))
        differing = [{"name": name, "current": current.get(name), "aside": aside.get(name)} for name in names]
    told["differing"] = differing
    return told


def accept_conflict(archive: "Archive", arguments: ConflictArguments, _: Progress) -> dict[str, Any]:
    """Make the version kept aside the archive's; the archive's is kept aside in its place, as `replaced`.

    Returns
    -------
    dict
        `sop_instance_uid` and `number`, the one that is accepted.

    Raises
    ------
    NotFoundError
        There is no such conflict.
    OperationError
        The version kept aside is damaged, or has changed meanwhile; nothing was changed.
    """
    found = archive.reader.read(partial(find_conflict, pk=arguments.number))
    entry = _read_again(archive, found)
    archive.writer.submit(partial(conflicts.accept, conflict_pk=found.pk, entry=entry)).result()
    log.info("conflict.accepted", archive=archive.name, number=found.pk)
    return {"number": found.pk, "sop_instance_uid": found.sop_instance_uid}


def discard_conflict(archive: "Archive", arguments: ConflictArguments, _: Progress) -> dict[str, Any]:
    """Remove the version kept aside for good: its row first, then its file.

    Returns
    -------
    dict
        `number`, and `files_left`: 1 if the file could not be removed yet.

    Raises
    ------
    NotFoundError
        There is no such conflict.
    """
    discard = partial(conflicts.discard, conflict_pk=arguments.number)
    removal = archive.writer.submit(discard).result()
    log.info("conflict.discarded", archive=archive.name, number=arguments.number)
    return {"number": arguments.number, "files_left": remove_now(archive, removal)}


def _read_again(archive: "Archive", found: Conflict) -> IndexEntry:
    """Return what lies in the file kept aside, having made sure that it is what was received."""
    aside = found.aside
    file, syntax = aside.file, aside.transfer_syntax_uid
    damage = OperationError(f"the version that conflict {found.pk} keeps aside is damaged")
    if not is_whole(archive.store, file):
        raise damage
    try:
        with open_content(archive.store.path(file.path)) as content:
            header = content.header(file.data_set_offset, syntax, archive.limits)
    except (CannotUnderstandError, OutOfResourcesError, OSError) as error:
        raise damage from error
    return IndexEntry(
        header=header,
        key=InstanceKey(aside.sop_class_uid, found.sop_instance_uid, syntax),
        file=file,
        provenance=aside.origin,
        policy=DuplicatePolicy.REPLACE,
    )


def _differing(archive: "Archive", found: Conflict) -> tuple[str, ...]:
    current, aside = (archive.store.path(each.file.path) for each in (found.current, found.aside))
    try:
        return compare_contents(current, aside, archive.limits).differing or found.differing_keywords
    except OSError:
        return found.differing_keywords


def _values(archive: "Archive", version: Version, names: tuple[str, ...]) -> dict[str, str]:
    try:
        return shown_values(archive.store.path(version.file.path), names, archive.limits)
    except OSError:
        return {}


def _told(found: Conflict) -> dict[str, Any]:
    return {
        "number": found.pk,
        "role": found.role,
        "recorded_at": found.recorded_at.isoformat(),
        "sop_instance_uid": found.sop_instance_uid,
        "current": _told_version(found.current),
        "aside": _told_version(found.aside),
        "differing_keywords": list(found.differing_keywords),
    }


def _told_version(version: Version) -> dict[str, Any]:
    told = asdict(version)
    told["origin"]["received_at"] = version.origin.received_at.isoformat()
    return told
