"""Time without trust in the wall clock: which leases fell silent, and whether the clock was set back."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final

_STEP_SECONDS: Final = 1.0


class LeaseWatch:
    """Watches the leases of other nodes: one that is not renewed for `lease_seconds` has fallen silent.

    Clocks of several hosts are never compared: setting one neither loses a lease nor keeps it for ever.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._seen: dict[int, tuple[datetime, float]] = {}

    def silent(self, leases: Mapping[int, datetime], now: float) -> dict[int, datetime]:
        """Return those of `leases` that have said the same for too long.

        Parameters
        ----------
        leases
            What each says now, by the number of the job; all there are.
        now
            Monotonic, in seconds.
        """
        self._seen = {
            pk: known if (known := self._seen.get(pk)) and known[0] == moment else (moment, now)
            for pk, moment in leases.items()
        }
        return {pk: moment for pk, (moment, since) in self._seen.items() if now - since > self._lease_seconds}


class ClockWatch:
    """Notices that the wall clock was set back, by a second or more."""

    def __init__(self) -> None:
        self._offset = _offset()

    def was_set_back(self) -> bool:
        """Return whether it was since the last call."""
        before, self._offset = self._offset, _offset()
        return before - self._offset > _STEP_SECONDS


def _offset() -> float:
    return time.time() - time.monotonic()
