"""Verification: is the peer there? (PS3.4 A)."""

import time
from dataclasses import dataclass

from pacslite.client.association import open_association
from pacslite.model.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    VERIFICATION_SOP_CLASS_UID,
)
from pacslite.settings.schema import AssociationSettings, PeerSettings
from pacslite.upperlayer.negotiation import ProposedContext

_CONTEXT = ProposedContext(VERIFICATION_SOP_CLASS_UID, (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN))


@dataclass(frozen=True, slots=True)
class EchoResult:
    """The peer's answer to a C-ECHO.

    Parameters
    ----------
    status
        (0000,0900); 0 is Success.
    association_seconds
        From the first packet to the established association.
    round_trip_seconds
        From request to response.
    """

    status: int
    association_seconds: float
    round_trip_seconds: float


async def echo(peer: PeerSettings, *, calling_ae_title: str, settings: AssociationSettings) -> EchoResult:
    """Verify `peer` on an association of its own.

    Raises
    ------
    AssociationError
        As `open_association` and `Association.echo`.
    ContextNotAcceptedError
        The peer does not verify.
    """
    started_at = time.perf_counter()
    async with open_association(
        peer, [_CONTEXT], calling_ae_title=calling_ae_title, settings=settings
    ) as association:
        asked_at = time.perf_counter()
        response = await association.echo()
        answered_at = time.perf_counter()
    return EchoResult(response.status, asked_at - started_at, answered_at - asked_at)
