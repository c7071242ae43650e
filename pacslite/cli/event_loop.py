"""The event loop of a command."""

import asyncio
from collections.abc import Callable


def new_runner() -> asyncio.Runner:
    """Return a runner on uvloop where it is installed, else on Python's own loop."""
    return asyncio.Runner(loop_factory=_loop_factory())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - it is not installed on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
