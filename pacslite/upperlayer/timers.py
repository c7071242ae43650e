"""Timers of the upper layer: ARTIM, idle, and those that watch a message (PS3.8 9.1.5)."""

import asyncio
from collections.abc import Callable


class LazyTimer:
    """A timer that is moved often and seldom fires: moving it costs one float, not one heap entry.

    Parameters
    ----------
    callback
        Called in the event loop when the timer expires.
    """

    __slots__ = ("_callback", "_deadline", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._deadline: float | None = None
        self._handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        """Expire `seconds` from now, whatever was set before."""
        self._deadline = self._loop.time() + seconds
        if self._handle is None:
            self._handle = self._loop.call_at(self._deadline, self._wake)
        elif self._handle.when() > self._deadline:
            self._handle.cancel()
            self._handle = self._loop.call_at(self._deadline, self._wake)

    def stop(self) -> None:
        """Do not expire; the sleeping handle is left to find out by itself."""
        self._deadline = None

    def close(self) -> None:
        """Do not expire, and leave nothing with the event loop."""
        self._deadline = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _wake(self) -> None:
        self._handle = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._handle = self._loop.call_at(self._deadline, self._wake)
            return
        self._deadline = None
        self._callback()
