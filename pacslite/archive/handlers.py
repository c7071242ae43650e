"""What an archive does with the jobs that it makes for itself."""

from functools import partial
from typing import TYPE_CHECKING

from pacslite.archive.jobs import JobHandler
from pacslite.archive.removal import remove_files
from pacslite.index.removals import REMOVE_FILES

if TYPE_CHECKING:
    from pacslite.archive.archive import Archive


def handlers_of(archive: "Archive") -> dict[str, JobHandler]:
    """Return the handlers of `archive`'s own jobs, by kind; none of them needs the network."""
    return {REMOVE_FILES: partial(remove_files, archive)}
