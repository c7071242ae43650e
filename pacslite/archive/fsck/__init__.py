"""Whether an archive's files and its index agree."""

from pacslite.archive.fsck.findings import Finding, FsckReport, Kind
from pacslite.archive.fsck.run import fsck

__all__ = ["Finding", "FsckReport", "Kind", "fsck"]
