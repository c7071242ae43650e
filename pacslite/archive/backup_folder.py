"""What a backup of an archive looks like on disk.

`<folder>/<archive>/manifest.json` says what else belongs to it: a snapshot of the index, a list of the files
that the snapshot names, and these files below `store/` under the same paths as in the archive.
"""

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from pacslite.model.errors import OperationError
from pacslite.storage.copying import DamagedFileError, check_content, digest_of, opened
from pacslite.storage.folders import sync_folder
from pacslite.storage.store import stored_path

MANIFEST_NAME: Final = "manifest.json"

_FileName = Annotated[str, StringConstraints(pattern=r"^[a-z]+-[0-9a-f]+\.[a-z]+$")]


class Part(BaseModel):
    """A file that belongs to a backup; `digest` is the XXH3-128 of its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _FileName
    size_bytes: int
    digest: str


class Manifest(BaseModel):
    """What a backup consists of.

    Parameters
    ----------
    archive
        Its name when it was saved.
    made_at
        When the snapshot was taken; what was acknowledged before is in it.
    version
        Of the program.
    identities
        Which stores the index belongs to, by name of their node.
    index
        The snapshot, a SQLite database.
    files
        The list: a line `<digest> <size in bytes> <path>` for each file, in order of path.
    file_count, file_bytes
        What the list comes to.
    missing_count
        Files that the snapshot names and that could not be saved.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    archive: str
    made_at: datetime
    version: str
    identities: dict[str, str]
    index: Part
    files: Part
    file_count: int
    file_bytes: int
    missing_count: int


class ListedFile(NamedTuple):
    """A file of a backup; `digest` is the XXH3-128 of all its bytes."""

    path: str
    file_bytes: int
    digest: str

    @property
    def line(self) -> str:
        """How the list says it."""
        return f"{self.digest} {self.file_bytes} {self.path}\n"


class BackupFolder:
    """The backup of one archive.

    Parameters
    ----------
    folder
        Of this archive's backup.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, relative_path: str) -> Path:
        """Return where the copy of a stored file lies; see `stored_path`."""
        return stored_path(self.folder / "store", relative_path)

    def manifest(self) -> Manifest | None:
        """Return what the backup consists of, or None where none was completed.

        Raises
        ------
        OperationError
            It cannot be read, or is of a later version.
        """
        try:
            text = (self.folder / MANIFEST_NAME).read_text(encoding="utf-8")
            return Manifest.model_validate_json(text)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, ValidationError) as error:
            raise OperationError(f"{self.folder / MANIFEST_NAME} is not the manifest of a backup") from error

    def required_manifest(self) -> Manifest:
        """Return what the backup consists of.

        Raises
        ------
        OperationError
            There is no backup, or its manifest cannot be read.
        """
        manifest = self.manifest()
        if manifest is None:
            raise OperationError(f"{self.folder} holds no backup")
        return manifest

    def switch_to(self, manifest: Manifest) -> None:
        """Make `manifest` the one that counts, durably and at once, and remove what belonged to others."""
        draft = self.folder / f"{MANIFEST_NAME}.new"
        with draft.open("w", encoding="utf-8") as file:
            file.write(manifest.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.folder / MANIFEST_NAME)
        sync_folder(self.folder)
        self.remove_parts(keep={manifest.index.name, manifest.files.name})

    def remove_parts(self, keep: Iterable[str]) -> None:
        """Remove snapshots and lists other than those named."""
        kept = set(keep)
        for pattern in ("index-*", "files-*"):
            for path in self.folder.glob(pattern):
                if path.name not in kept:
                    path.unlink(missing_ok=True)

    def part(self, name: str) -> Part:
        """Return what a manifest says of a file of this folder."""
        with opened(self.folder / name) as descriptor:
            return Part(name=name, size_bytes=os.fstat(descriptor).st_size, digest=digest_of(descriptor))

    def check_part(self, part: Part) -> Path:
        """Return where a snapshot or list lies, having verified it.

        Raises
        ------
        OperationError
            It is damaged or missing; the text names it.
        """
        path = self.folder / part.name
        try:
            with opened(path) as descriptor:
                check_content(descriptor, part.size_bytes, part.digest)
        except (OSError, DamagedFileError) as error:
            raise OperationError(f"{path} is damaged: {error}") from error
        return path

    def listed(self, manifest: Manifest) -> Iterator[ListedFile]:
        """Yield the files of the backup in order of path, once the list has been verified.

        Raises
        ------
        OperationError
            The list is damaged.
        """
        yield from read_list(self.check_part(manifest.files))


class Lookup:
    """Finds files in a list by paths that only ascend; holds one line at a time."""

    def __init__(self, files: Iterator[ListedFile]) -> None:
        self._files = files
        self._next = next(files, None)

    def find(self, path: str) -> ListedFile | None:
        """Return the file at `path`, which comes behind those asked for before."""
        while self._next is not None and self._next.path < path:
            self._next = next(self._files, None)
        return self._next if self._next is not None and self._next.path == path else None


def read_list(path: Path) -> Iterator[ListedFile]:
    """Yield the files of a list."""
    with path.open(encoding="ascii") as lines:
        for line in lines:
            digest, file_bytes, name = line.rstrip("\n").split(" ", 2)
            yield ListedFile(name, int(file_bytes), digest)
