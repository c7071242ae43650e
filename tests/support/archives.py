"""An archive without a network, for tests of what a keeper does to it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from support.instances import Sendable
from support.nodes import node_settings

from pacslite.archive.archive import Archive
from pacslite.model.errors import DuplicateInstanceError
from pacslite.model.instances import DuplicatePolicy, InstanceKey, Outcome, Provenance
from pacslite.settings.schema import ArchiveSettings, Settings


def settings_of(
    folder: Path, policy: DuplicatePolicy = DuplicatePolicy.KEEP_FIRST, **choices: Any
) -> Settings:
    """Return settings with one archive."""
    return node_settings(folder, archives=[ArchiveSettings(duplicate_policy=policy)], **choices)


def archive_folder(folder: Path) -> Path:
    return folder / "archives" / "main"


def index_of(folder: Path) -> Path:
    return archive_folder(folder) / "index.sqlite"


def store_of(folder: Path) -> Path:
    return archive_folder(folder) / "store"


class _Freely:
    """Nothing slows a test's data down."""

    def hold_reading(self, why: str) -> None: ...
    def let_reading(self, why: str) -> None: ...


@contextmanager
def started(settings: Settings) -> Iterator[Archive]:
    """Start the first archive of `settings`, and stop it in the end."""
    archive = Archive(settings, settings.archives[0])
    archive.start()
    try:
        yield archive
    finally:
        archive.stop()


def keep(archive: Archive, instance: Sendable, *, calling: str = "MODALITY") -> Outcome:
    """Let the archive receive an instance, as from a peer."""
    key = InstanceKey(instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid)
    origin = Provenance(
        datetime.now(UTC), calling, "PACSLITE", "192.0.2.1:4000", "192.0.2.2:104", "1.2", "V1"
    )

    async def receive() -> Outcome:
        receipt = archive.receive(key, origin, _Freely())
        receipt.write(memoryview(instance.data_set()), is_own=False)
        try:
            return await archive.ingest.keep(receipt)
        except DuplicateInstanceError:
            return Outcome.REFUSED

    return asyncio.run(receive())


def files_of(archive: Archive) -> set[str]:
    """Return the paths that the index names."""
    return archive.reader.named_paths("")
