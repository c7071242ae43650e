"""Where the fragments of a message's data set go."""

from typing import Protocol


class DataSink(Protocol):
    """Takes a data set as it comes; no method waits or raises."""

    def buffer(self) -> memoryview | None:
        """Return memory to receive into, or None where it makes no difference."""

    def filled(self, received_bytes: int) -> None:
        """Take note that so many bytes of the memory last given out are in use."""

    def write(self, piece: memoryview, *, is_own: bool) -> None:
        """Take the next piece; one that is not of our own memory is valid during the call only."""

    def abort(self) -> None:
        """Forget the data set: its rest will not come."""


class DiscardingSink:
    """Takes a data set that nobody wants, so that its sender can be answered (PS3.4 B.2.3)."""

    def buffer(self) -> None:
        """Return None: any memory does."""

    def filled(self, received_bytes: int) -> None:
        """Never called."""

    def write(self, piece: memoryview, *, is_own: bool) -> None:
        """Drop the piece."""

    def abort(self) -> None:
        """Do nothing: there is nothing to forget."""


class MemorySink(DiscardingSink):
    """Keeps a small data set, such as an identifier, in memory.

    Parameters
    ----------
    limit_bytes
        What is over it is dropped, and `is_over_limit` says so.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.data = bytearray()
        self.is_over_limit = False
        self._limit_bytes = limit_bytes

    def write(self, piece: memoryview, *, is_own: bool) -> None:  # noqa: ARG002 - the protocol's shape
        """Keep a copy."""
        if len(self.data) + len(piece) > self._limit_bytes:
            self.is_over_limit = True
        else:
            self.data += piece
