"""Who decides about an association, who uses it, and how it ends: what a connection reports to."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ending:
    """How an association ended other than by release."""

    description: str
    source: int | None = None
    reason: int | None = None
    is_timeout: bool = False


class Negotiator(Protocol):
    """Who decides about an association until it is established."""

    def connected(self) -> None:
        """Take note of the transport connection; a requestor sends its A-ASSOCIATE-RQ now."""

    def associate_indication(self, pdu: bytes) -> None:
        """Answer an A-ASSOCIATE-RQ with `Connection.accept` or `Connection.reject`, now or later."""

    def associate_confirmation(self, pdu: bytes) -> None:
        """Take the peer's A-ASSOCIATE-AC."""

    def reject_confirmation(self, result: int, source: int, reason: int) -> None:
        """Take the peer's A-ASSOCIATE-RJ."""

    def ended(self, ending: Ending) -> None:
        """Take note that there will be no association."""


class AssociationUser(Protocol):
    """Who uses an established association."""

    def receive_buffer(self) -> memoryview | None:
        """Return memory for the next read, or None for the loop's shared buffer."""

    def buffer_filled(self, received_bytes: int) -> None:
        """Take note that so many bytes of the memory last given out are in use."""

    def fragment_received(
        self, context_id: int, control: int, piece: memoryview, *, is_whole: bool, is_own: bool
    ) -> None:
        """Take a piece of a PDV; `is_own` when its memory came from `receive_buffer`."""

    def release_indication(self) -> None:
        """Answer an A-RELEASE-RQ with `Connection.respond_to_release`, now or later."""

    def release_confirmation(self) -> None:
        """Take note of the A-RELEASE-RP that answers our A-RELEASE-RQ."""

    def writing_paused(self) -> None:
        """Stop sending: the peer does not keep up."""

    def writing_resumed(self) -> None:
        """Send on."""

    def ended(self, ending: Ending) -> None:
        """Take note that the association is gone; called at most once, and not after a release."""
