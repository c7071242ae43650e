"""Memory for data on its way from the network to the disk."""

from collections import deque
from typing import Final

CHUNK_BYTES: Final = 1024 * 1024
SMALL_CHUNK_BYTES: Final = 64 * 1024


class Chunk:
    """A piece of memory that belongs to one transfer until its write has ended."""

    __slots__ = ("is_pooled", "memory")

    def __init__(self, size_bytes: int, *, is_pooled: bool) -> None:
        self.memory = memoryview(bytearray(size_bytes))
        self.is_pooled = is_pooled


class ChunkPool:
    """Lends 1 MiB chunks up to a limit, and small ones of its own when they are all lent.

    A sender that holds a chunk and does not send thus takes speed from the others, but never stops them.

    Parameters
    ----------
    limit_bytes
        Of all pooled chunks together; they are made when first needed and then kept.

    Notes
    -----
    `take` is called from the event loop, `give_back` from any thread.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._free: deque[Chunk] = deque()
        self._unmade_count = limit_bytes // CHUNK_BYTES

    def take(self) -> Chunk:
        """Return a chunk; never waits."""
        try:
            return self._free.pop()
        except IndexError:
            pass
        if self._unmade_count:
            self._unmade_count -= 1
            return Chunk(CHUNK_BYTES, is_pooled=True)
        return Chunk(SMALL_CHUNK_BYTES, is_pooled=False)

    def give_back(self, chunk: Chunk) -> None:
        """Take a chunk back, once nothing reads or writes it."""
        if chunk.is_pooled:
            self._free.append(chunk)
