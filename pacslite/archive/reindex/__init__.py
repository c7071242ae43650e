"""Making an archive's index anew from its files."""

from pacslite.archive.reindex.report import ReindexReport
from pacslite.archive.reindex.run import reindex

__all__ = ["ReindexReport", "reindex"]
