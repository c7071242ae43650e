"""The requestor's side of an association's beginning (PS3.8 7.1)."""

import asyncio
import os
from collections.abc import Callable
from typing import Generic, TypeVar

from pacslite.model.errors import (
    AssociationAbortedError,
    AssociationError,
    AssociationRejectedError,
    AssociationTimeoutError,
)
from pacslite.settings.schema import AssociationSettings, PeerSettings
from pacslite.upperlayer.connection import Connection, ReceiveBuffers
from pacslite.upperlayer.machine import UpperLayerTimers
from pacslite.upperlayer.negotiation import AssociateProposal, NegotiationError, Terms
from pacslite.upperlayer.pdu import AbortReason, AbortSource
from pacslite.upperlayer.ports import AssociationUser, Ending

User = TypeVar("User", bound=AssociationUser)


class Requestor(Generic[User]):
    """Asks for one association."""

    def __init__(
        self,
        peer: PeerSettings,
        proposal: AssociateProposal,
        open_session: Callable[[Connection, Terms], User],
    ) -> None:
        self._peer = peer
        self._proposal = proposal
        self._request = proposal.encode()
        self._open_session = open_session
        self.connection: Connection
        self.established: asyncio.Future[User] = asyncio.get_running_loop().create_future()

    def connected(self) -> None:
        """Send our A-ASSOCIATE-RQ."""
        self.connection.request(self._request)

    def associate_indication(self, pdu: bytes) -> None:
        """Never called on a requestor (PS3.8 Table 9-10)."""

    def associate_confirmation(self, pdu: bytes) -> None:
        """Begin the association."""
        try:
            terms = self._proposal.read_answer(pdu)
        except NegotiationError as error:
            self._fail(AssociationAbortedError(f"{self._peer}: {error}"))
            self.connection.abort(
                str(error), AbortSource.SERVICE_PROVIDER, AbortReason.INVALID_PARAMETER_VALUE
            )
            return
        user = self._open_session(self.connection, terms)
        self.connection.user = user
        if not self.established.done():
            self.established.set_result(user)

    def reject_confirmation(self, result: int, source: int, reason: int) -> None:
        """Tell who waits that the peer does not want us."""
        self._fail(AssociationRejectedError(str(self._peer), result, source, reason))

    def ended(self, ending: Ending) -> None:
        """Tell who waits that the connection is gone."""
        kind = AssociationTimeoutError if ending.is_timeout else AssociationAbortedError
        self._fail(kind(f"{self._peer}: {ending.description}"))

    def _fail(self, error: AssociationError) -> None:
        if not self.established.done():
            self.established.set_exception(error)


async def request_association(
    peer: PeerSettings,
    proposal: AssociateProposal,
    settings: AssociationSettings,
    open_session: Callable[[Connection, Terms], User],
) -> User:
    """Connect to `peer`, negotiate, and return the association's user, which `open_session` makes.

    Raises
    ------
    AssociationRejectedError
        The peer answered A-ASSOCIATE-RJ.
    AssociationTimeoutError
        The peer could not be reached, or did not answer, in time.
    AssociationAbortedError
        The peer aborted, hung up, or answered what cannot be read.
    AssociationError
        There is no connection to be had.
    """
    requestor = Requestor(peer, proposal, open_session)
    connection = Connection(
        requestor,
        UpperLayerTimers(settings.artim_seconds, settings.idle_seconds),
        ReceiveBuffers(),
        max_pdu_bytes=settings.max_pdu_bytes,
        is_requestor=True,
    )
    requestor.connection = connection
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(settings.connect_seconds):
            await loop.create_connection(lambda: connection, peer.host, peer.port)
    except TimeoutError:
        raise AssociationTimeoutError(
            f"{peer}: no connection within {settings.connect_seconds:g} s"
        ) from None
    except OSError as error:
        # asyncio's own text repeats the address; a host name's error numbers are negative
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else error.strerror or str(error)
        raise AssociationError(f"{peer}: {why}") from error
    try:
        return await requestor.established
    except BaseException:
        connection.abort("given up")
        await connection.hang_up()
        raise
