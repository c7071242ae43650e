"""An instance while it is being received: from the network's memory to the disk, a chunk at a time."""

import asyncio
import threading
from typing import Final, Protocol

from pacslite.model.errors import OutOfResourcesError, RefusedError
from pacslite.model.instances import InstanceKey, Provenance
from pacslite.storage.chunks import Chunk, ChunkPool
from pacslite.storage.incoming import MAX_PIECES_PER_WRITE, IncomingFile, Piece

HEAD_BYTES: Final = 32 * 1024
"""Of the data set, kept in memory: the header of nearly every instance lies within."""

MAX_WRITES_UNDER_WAY: Final = 2
LEAST_READ_BYTES: Final = 4 * 1024
_HOLD: Final = "disk"


class Flow(Protocol):
    """Where a data set comes from, as far as it can be slowed down."""

    def hold_reading(self, why: str) -> None:
        """Send no more for now."""

    def let_reading(self, why: str) -> None:
        """Send on."""


class Intake:
    """What the unfinished receipts of an archive share: memory, and a quota of bytes.

    Parameters
    ----------
    chunks
        Lends memory.
    max_open_bytes
        What all unfinished receipts together may come to.
    max_object_bytes
        What one data set may come to.
    """

    def __init__(self, chunks: ChunkPool, *, max_open_bytes: int, max_object_bytes: int) -> None:
        self.chunks = chunks
        self._max_open_bytes = max_open_bytes
        self._max_object_bytes = max_object_bytes
        self._open_bytes = 0

    def admit(self, piece_bytes: int, data_set_bytes: int) -> OutOfResourcesError | None:
        """Count a piece of a data set that came to `data_set_bytes` so far; return why it is too much."""
        if data_set_bytes + piece_bytes > self._max_object_bytes:
            return OutOfResourcesError("the instance is larger than this archive takes")
        if self._open_bytes + piece_bytes > self._max_open_bytes:
            return OutOfResourcesError("too much is being received at the moment")
        self._open_bytes += piece_bytes
        return None

    def settle(self, data_set_bytes: int) -> None:
        """Take a data set off the quota."""
        self._open_bytes -= data_set_bytes


class Receipt:
    """Takes a data set as it comes; never waits or raises.

    Parameters
    ----------
    key
        What the command says it is.
    provenance
        Where it comes from.
    file
        Where it goes.
    intake
        Of the archive.
    flow
        Slowed down while the disk does not keep up.
    refusal
        Why it is not wanted, when that is known beforehand: its bytes are dropped.

    Notes
    -----
    Lives in the event loop's thread.
    """

    def __init__(
        self,
        key: InstanceKey,
        provenance: Provenance,
        file: IncomingFile,
        intake: Intake,
        flow: Flow,
        *,
        refusal: RefusedError | None,
    ) -> None:
        self.key = key
        self.provenance = provenance
        self.file = file
        self.refusal = refusal
        self.head = bytearray()
        self.data_set_bytes = 0
        self._intake = intake
        self._flow = flow
        self._loop = asyncio.get_running_loop()
        self._chunk: Chunk | None = None
        self._filled_bytes = 0
        self._pieces: list[Piece] = []
        self._lock = threading.Lock()
        self._writes_under_way = 0
        self._is_held = False
        self._is_settled = False

    def buffer(self) -> memoryview | None:
        """Return the free rest of the current chunk."""
        if self.refusal is not None:
            return None
        chunk = self._chunk
        if chunk is None or len(chunk.memory) - self._filled_bytes < LEAST_READ_BYTES:
            chunk = self._next_chunk()
        return chunk.memory[self._filled_bytes :]

    def filled(self, received_bytes: int) -> None:
        """Take note that so many bytes of the chunk are in use: PDU headers, pieces of data and all."""
        self._filled_bytes += received_bytes

    def write(self, piece: memoryview, *, is_own: bool) -> None:
        """Take the next piece of the data set; one of our own chunk stays where it is."""
        if self.refusal is not None or not self._admit(piece):
            return
        if len(self.head) < HEAD_BYTES:
            self.head += piece[: HEAD_BYTES - len(self.head)]
        if is_own:
            self._pieces.append(piece)
        else:
            self._copy(piece)
        if len(self._pieces) >= 2 * MAX_PIECES_PER_WRITE:
            # many tiny fragments: one copy costs less than their bookkeeping
            self._pieces = [b"".join(self._pieces)]

    def finish(self) -> None:
        """Hand the last chunk to the disk.

        Raises
        ------
        RefusedError
            The data set was not wanted, or came to exceed a limit.
        """
        if self.refusal is not None:
            raise self.refusal
        self._flush()

    def abort(self) -> None:
        """Forget the data set and remove its file."""
        self._pieces = []
        self._release_chunk()
        self.settle()
        self.file.discard()

    def settle(self) -> None:
        """Take the data set off the quota."""
        if not self._is_settled:
            self._is_settled = True
            self._intake.settle(self.data_set_bytes)

    def _admit(self, piece: memoryview) -> bool:
        refusal = self._intake.admit(len(piece), self.data_set_bytes)
        if refusal is None:
            self.data_set_bytes += len(piece)
            return True
        self.refusal = refusal
        self._pieces = []  # the chunk stays ours: what is being read out of it may belong to the next request
        self.settle()
        return False

    def _copy(self, piece: memoryview) -> None:
        while piece:
            chunk = self._chunk
            if chunk is None or self._filled_bytes == len(chunk.memory):
                chunk = self._next_chunk()
            start = self._filled_bytes
            stop = min(start + len(piece), len(chunk.memory))
            target = chunk.memory[start:stop]
            target[:] = piece[: stop - start]
            self._pieces.append(target)
            self._filled_bytes = stop
            piece = piece[stop - start :]

    def _next_chunk(self) -> Chunk:
        self._flush()
        self._chunk = self._intake.chunks.take()
        self._filled_bytes = 0
        return self._chunk

    def _release_chunk(self) -> None:
        if self._chunk is not None:
            self._intake.chunks.give_back(self._chunk)
            self._chunk = None

    def _flush(self) -> None:
        chunk, self._chunk = self._chunk, None
        pieces, self._pieces = self._pieces, []
        if chunk is None:
            return
        with self._lock:
            self._writes_under_way += 1
            self._is_held = self._is_held or self._writes_under_way >= MAX_WRITES_UNDER_WAY
        if self._is_held:
            self._flow.hold_reading(_HOLD)
        self.file.append(pieces, lambda: self._written(chunk))

    def _written(self, chunk: Chunk) -> None:
        self._intake.chunks.give_back(chunk)
        with self._lock:
            self._writes_under_way -= 1
            is_waited_for = self._is_held
        if is_waited_for:
            self._loop.call_soon_threadsafe(self._resume)

    def _resume(self) -> None:
        with self._lock:
            self._is_held = self._writes_under_way >= MAX_WRITES_UNDER_WAY
        if not self._is_held:
            self._flow.let_reading(_HOLD)
