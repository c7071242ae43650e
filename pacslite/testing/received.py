"""What a node under test has received, for the tests that wait for it."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import Dataset, dcmread
from pydicom.uid import UID

from pacslite.archive.ingest import InstanceKept
from pacslite.model.instances import Outcome, Provenance

_LISTED_COUNT: Final = 20


class NotReceivedError(AssertionError):
    """What a test waited for did not come in time; the text lists what came."""


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """An instance that the node acknowledged with Success.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid
        As the command and its presentation context said.
    path
        The stored Part 10 file.
    provenance
        Who sent it, from where, when.
    outcome
        Whether it was new, or how it met the instance of the same UID that was there.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    path: Path
    provenance: Provenance
    outcome: Outcome

    def dataset(self) -> Dataset:
        """Read the stored file with pydicom."""
        return dcmread(self.path)

    def __str__(self) -> str:
        sender = self.provenance.calling_ae_title
        return f"{UID(self.sop_class_uid).name} {self.sop_instance_uid} from {sender} ({self.outcome.value})"


class Received:
    """The instances received, in order; filled by the node's thread, read by the tests'."""

    def __init__(self) -> None:
        self._instances: list[ReceivedInstance] = []
        self._changed = threading.Condition()

    def note(self, kept: InstanceKept) -> None:
        """Take note of an instance, before its sender gets the response."""
        instance = ReceivedInstance(
            kept.key.sop_class_uid,
            kept.key.sop_instance_uid,
            kept.key.transfer_syntax_uid,
            kept.path,
            kept.provenance,
            kept.outcome,
        )
        with self._changed:
            self._instances.append(instance)
            self._changed.notify_all()

    def all(self) -> list[ReceivedInstance]:
        """Return those that came so far."""
        with self._changed:
            return list(self._instances)

    def wait_for(
        self, wanted: int | Callable[[Sequence[ReceivedInstance]], object], timeout_seconds: float
    ) -> list[ReceivedInstance]:
        """Wait until so many came, or until `wanted` is true of those that came; return them.

        Raises
        ------
        NotReceivedError
            Not within `timeout_seconds`.
        """
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while not self._has(wanted):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise NotReceivedError(self._missing(wanted, timeout_seconds))
                self._changed.wait(left)
            return list(self._instances)

    def _has(self, wanted: int | Callable[[Sequence[ReceivedInstance]], object]) -> bool:
        if isinstance(wanted, int):
            return len(self._instances) >= wanted
        return bool(wanted(tuple(self._instances)))

    def _missing(self, wanted: object, timeout_seconds: float) -> str:
        what = f"{wanted} instances" if isinstance(wanted, int) else "what the predicate wants"
        lines = [f"waited {timeout_seconds:g} s for {what}; {len(self._instances)} came"]
        lines += [f"  {instance}" for instance in self._instances[:_LISTED_COUNT]]
        if len(self._instances) > _LISTED_COUNT:
            lines.append(f"  and {len(self._instances) - _LISTED_COUNT} more")
        return "\n".join(lines)
