"""`pacslite serve` that can also do jobs of the kind `COUNT`, each of which leaves a line in a file.

`python -P counting_node.py FILE ARGUMENT…`, with ARGUMENTs as of `pacslite serve`.
"""

import os
import sys
import time
from pathlib import Path
from typing import Final

from pacslite import node
from pacslite.archive.archive import Archive
from pacslite.archive.handlers import handlers_of
from pacslite.archive.jobs import JobHandler
from pacslite.cli.app import app
from pacslite.index.jobs import Job

COUNT: Final = "count"
_WORK_SECONDS: Final = 0.002


def program(counted: Path) -> list[str]:
    """Return the command that takes the arguments of `pacslite serve`."""
    return [sys.executable, "-P", __file__, str(counted)]


def _counting(path: str) -> JobHandler:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def count(job: Job) -> None:
        time.sleep(_WORK_SECONDS)
        os.write(descriptor, f"{job.payload['number']}\n".encode())  # whole even if the node is killed now

    return count


def _let_count(path: str) -> None:
    def handlers_and_count(archive: Archive) -> dict[str, JobHandler]:
        return {**handlers_of(archive), COUNT: _counting(path)}

    node.handlers_of = handlers_and_count  # type: ignore[attr-defined] # node's own name for it


if __name__ == "__main__":
    _let_count(sys.argv[1])
    app(["serve", *sys.argv[2:]], prog_name="pacslite")
