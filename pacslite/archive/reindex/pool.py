"""Many processes that read files, and one that takes what they found, in order."""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final

from pacslite.archive.reindex.scanning import ScannedBatch, scan_files
from pacslite.archive.scan import ScanLimits
from pacslite.model.errors import OperationError

_WAITING_PER_PROCESS: Final = 4


def scan_all(
    store_folder: Path, batches: Iterable[Sequence[str]], limits: ScanLimits, process_count: int
) -> Iterator[ScannedBatch]:
    """Yield what became of each batch of paths, in order.

    Parameters
    ----------
    store_folder
        The paths are relative to it.
    batches
        Read ahead by a few.
    limits
        Of the scan.
    process_count
        0: in this process.

    Raises
    ------
    OperationError
        A process died.
    """
    if not process_count:
        yield from (scan_files(str(store_folder), batch, limits) for batch in batches)
        return
    context = get_context("spawn")
    waiting: deque[Future[ScannedBatch]] = deque()
    with ProcessPoolExecutor(process_count, mp_context=context, initializer=_prepare) as executor:
        try:
            for batch in batches:
                waiting.append(executor.submit(scan_files, str(store_folder), batch, limits))
                if len(waiting) > process_count * _WAITING_PER_PROCESS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise OperationError(
                "a process that read files was killed: is there too little memory?"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def _prepare() -> None:
    """Leave Ctrl+C to the process that started this one, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
