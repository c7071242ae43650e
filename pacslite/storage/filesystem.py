"""Whether a file system keeps what it was told to sync."""

import os
from pathlib import Path
from typing import Final

import structlog

from pacslite.model.errors import DataFolderError

log = structlog.get_logger(__name__)

PROMISED: Final = frozenset({"ext4", "xfs"})
NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs"}
)
_MOUNT_TABLE: Final = Path("/proc/self/mountinfo")


def check_filesystem(folder: Path, *, is_unsafe_allowed: bool) -> None:
    """Warn where durability is not known, and refuse where SQLite and locks are known not to work.

    Raises
    ------
    DataFolderError
        `folder` is on a network file system and `is_unsafe_allowed` is false.
    """
    kind = filesystem_of(folder)
    if kind is None or kind in PROMISED:
        return
    if kind in NETWORK and not is_unsafe_allowed:
        raise DataFolderError(
            f"{folder} is on {kind}, where SQLite can lose or damage the index; "
            "use a local ext4 or XFS, or set storage.allow_unsafe_filesystem"
        )
    log.warning("data_folder.durability_unknown", file_system=kind, promised=sorted(PROMISED))


def filesystem_of(folder: Path, mount_table: Path = _MOUNT_TABLE) -> str | None:
    """Return the type of the file system that holds `folder`, or None where the system does not say."""
    try:
        lines = os.fsdecode(mount_table.read_bytes()).splitlines()
    except OSError:
        return None
    target = folder.resolve()
    best: tuple[int, str] | None = None
    for line in lines:
        mount, kind = _parse(line)
        is_above = target == mount or mount in target.parents
        if is_above and (best is None or len(mount.parts) >= best[0]):
            best = (len(mount.parts), kind)
    return best[1] if best else None


def _parse(line: str) -> tuple[Path, str]:
    before, _, after = line.partition(" - ")
    escaped = os.fsencode(before.split(" ")[4])  # blanks as \\040, bytes outside ASCII as they are
    mount = os.fsdecode(escaped.decode("unicode_escape").encode("latin-1"))
    return Path(mount), after.split(" ")[0]
