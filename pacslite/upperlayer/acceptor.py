"""The acceptor's side of an association's beginning (PS3.8 7.1)."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from pacslite.upperlayer.admission import (
    APPLICATION_CONTEXT_NOT_SUPPORTED,
    LOCAL_LIMIT_EXCEEDED,
    PROTOCOL_VERSION_NOT_SUPPORTED,
    TEMPORARY_CONGESTION,
    AdmissionRules,
    Occupancy,
    Rejection,
)
from pacslite.upperlayer.connection import Connection
from pacslite.upperlayer.entity import ApplicationEntity
from pacslite.upperlayer.negotiation import AssociateRequest, NegotiationError, Terms
from pacslite.upperlayer.offers import AcceptorRules
from pacslite.upperlayer.pdu import AbortReason, AbortSource
from pacslite.upperlayer.ports import AssociationUser, Ending
from pacslite.upperlayer.states import State

log = structlog.get_logger(__name__)

INLINE_REQUEST_BYTES: Final = 8 * 1024
"""A longer A-ASSOCIATE-RQ is decoded in a thread: one of 1 MiB takes 40 to 100 ms."""


class SessionOpener(Protocol):
    """Makes the user of an association that is being accepted."""

    def __call__(self, connection: Connection, terms: Terms, association_id: str) -> AssociationUser:
        """Return who will use `connection` once it is established."""


@dataclass(slots=True)
class Reception:
    """What all acceptors of a node share.

    Parameters
    ----------
    entity
        What is supported.
    rules
        Who is let in; replaced when the peers are reloaded.
    acceptor_rules
        Called AE title → what that archive takes beyond the entity's contexts.
    occupancy
        Who is in already.
    open_session
        Makes the user of an accepted association.
    is_draining
        No association is accepted any more.
    """

    entity: ApplicationEntity
    rules: AdmissionRules
    acceptor_rules: Callable[[str], AcceptorRules]
    occupancy: Occupancy
    open_session: SessionOpener
    is_draining: bool = False


class Acceptor:
    """Decides about the association that one incoming connection asks for."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._decoding: asyncio.Task[None] | None = None
        self.connection: Connection

    def connected(self) -> None:
        """Count the connection as half open."""
        self._reception.occupancy.enter(self.connection)

    def associate_indication(self, pdu: bytes) -> None:
        """Accept, reject or abort."""
        if len(pdu) > INLINE_REQUEST_BYTES:
            self._decoding = asyncio.ensure_future(self._decode_aside(pdu))
        else:
            self._decode_and_decide(pdu)

    def associate_confirmation(self, pdu: bytes) -> None:
        """Never called on an acceptor (PS3.8 Table 9-10)."""

    def reject_confirmation(self, result: int, source: int, reason: int) -> None:
        """Never called on an acceptor (PS3.8 Table 9-10)."""

    def ended(self, ending: Ending) -> None:
        """Take note that the peer left, or was sent away, before there was an association."""
        log.info("association.not_made", peer=self.connection.peer_address, why=ending.description)

    async def _decode_aside(self, pdu: bytes) -> None:
        try:
            request = await asyncio.to_thread(AssociateRequest, pdu)
        except NegotiationError as error:
            self._refuse_to_read(error)
        else:
            self._decide(request)

    def _decode_and_decide(self, pdu: bytes) -> None:
        try:
            request = AssociateRequest(pdu)
        except NegotiationError as error:
            self._refuse_to_read(error)
        else:
            self._decide(request)

    def _refuse_to_read(self, error: NegotiationError) -> None:
        self.connection.abort(str(error), AbortSource.SERVICE_PROVIDER, AbortReason.INVALID_PARAMETER_VALUE)

    def _decide(self, request: AssociateRequest) -> None:
        if self.connection.state is not State.STA3_AWAITING_LOCAL_ASSOCIATE_RESPONSE:
            return  # the peer left, or was sent away, while its request was decoded
        rejection = self._rejection(request)
        if rejection is not None:
            self._reject(request, rejection)
            return
        try:
            rules = self._reception.acceptor_rules(request.called_ae_title)
            terms, answer = request.accept(self._reception.entity, rules)
        except NegotiationError as error:
            self._refuse_to_read(error)
            return
        self._establish(terms, answer)

    def _rejection(self, request: AssociateRequest) -> Rejection | None:
        if not request.has_our_protocol_version:
            return PROTOCOL_VERSION_NOT_SUPPORTED
        if not request.has_our_application_context:
            return APPLICATION_CONTEXT_NOT_SUPPORTED
        if self._reception.is_draining:
            return TEMPORARY_CONGESTION
        refused = self._reception.rules.check(
            calling_ae_title=request.calling_ae_title,
            called_ae_title=request.called_ae_title,
            peer_host=self.connection.peer_host,
        )
        if refused is not None:
            return refused
        return LOCAL_LIMIT_EXCEEDED if self._reception.occupancy.is_full else None

    def _reject(self, request: AssociateRequest, rejection: Rejection) -> None:
        log.warning(
            "association.rejected",
            peer=self.connection.peer_address,
            calling=request.calling_ae_title,
            called=request.called_ae_title,
            why=rejection.why,
        )
        self.connection.reject(rejection.result, rejection.source, rejection.reason)

    def _establish(self, terms: Terms, answer: bytes) -> None:
        association_id = secrets.token_hex(6)
        self._reception.occupancy.establish(self.connection)
        user = self._reception.open_session(self.connection, terms, association_id)
        log.info(
            "association.accepted",
            association=association_id,
            peer=self.connection.peer_address,
            calling=terms.calling_ae_title,
            called=terms.called_ae_title,
            contexts=len(terms.contexts),
        )
        self.connection.accept(answer, user)
