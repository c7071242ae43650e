"""Association negotiation with pynetdicom's codecs and rules (PS3.8 7.1, PS3.7 D)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import (
    PresentationContext,
    build_context,
    negotiate_as_acceptor,
    negotiate_as_requestor,
)

from pacslite.model.uids import (
    APPLICATION_CONTEXT_UID,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
)
from pacslite.upperlayer.associate import (
    PROTOCOL_VERSION_1,
    TITLES,
    AssociatePdu,
    ContextItem,
    MalformedAssociateError,
    decode_associate,
)
from pacslite.upperlayer.entity import ApplicationEntity
from pacslite.upperlayer.offers import AcceptorRules, choose, offers_for, supported

_UserInformation = list[
    MaximumLengthNotification
    | ImplementationClassUIDNotification
    | ImplementationVersionNameNotification
    | AsynchronousOperationsWindowNegotiation
    | SCP_SCU_RoleSelectionNegotiation
    | SOPClassExtendedNegotiation
    | UserIdentityNegotiation
    | SOPClassCommonExtendedNegotiation
]

ACCEPTED: Final = 0
SEND_PDU_LIMIT_BYTES: Final = 128 * 1024
"""The longest P-DATA-TF variable field that we send, whatever the peer would take (PS3.8 D.1)."""
SMALLEST_PDU_BYTES: Final = 12
"""Six bytes of header and six of data; a peer that announces less cannot mean it."""


class NegotiationError(Exception):
    """What the peer proposed or answered cannot be read."""


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """A presentation context on which messages may flow (PS3.8 9.3.3.2)."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    as_scu: bool
    as_scp: bool


@dataclass(frozen=True, slots=True)
class Terms:
    """What an established association was agreed to be."""

    calling_ae_title: str
    called_ae_title: str
    contexts: Mapping[int, AcceptedContext]
    send_pdu_bytes: int
    peer_implementation_class_uid: str
    peer_implementation_version_name: str


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """What a requestor proposes for one presentation context id."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


class AssociateRequest:
    """A decoded A-ASSOCIATE-RQ (PS3.8 9.3.2).

    Raises
    ------
    NegotiationError
        The PDU cannot be read.
    """

    def __init__(self, pdu: bytes) -> None:
        self._pdu = _decode(pdu)
        self.calling_ae_title = self._pdu.calling_ae_title
        self.called_ae_title = self._pdu.called_ae_title

    @property
    def has_our_protocol_version(self) -> bool:
        """Whether the peer speaks version 1 of the protocol (PS3.8 9.3.2)."""
        return bool(self._pdu.protocol_version & PROTOCOL_VERSION_1)

    @property
    def has_our_application_context(self) -> bool:
        """Whether the peer speaks DICOM (PS3.7 A.2.1)."""
        return self._pdu.application_context == APPLICATION_CONTEXT_UID

    def accept(self, entity: ApplicationEntity, rules: AcceptorRules) -> tuple[Terms, bytes]:
        """Return what is agreed, and the A-ASSOCIATE-AC that says so; it may reject every context.

        Raises
        ------
        NegotiationError
            A context id is even or occurs twice (PS3.8 9.3.2.2).
        """
        ids = [context.context_id for context in self._pdu.contexts]
        if len(set(ids)) < len(ids) or not all(context_id % 2 for context_id in ids):
            raise NegotiationError("presentation context ids that are even or occur twice")
        offers = offers_for(entity, rules, [context.abstract_syntax for context in self._pdu.contexts])
        proposed = [choose(context, offers) for context in self._pdu.contexts]
        roles: dict[UID, tuple[bool | None, bool | None]] = {
            UID(uid): role for uid, role in self._pdu.user.roles.items() if uid in offers
        }
        results, role_replies = negotiate_as_acceptor(proposed, supported(offers, proposed), roles)
        return _terms(self._pdu, results), self._encode_answer(entity, results, role_replies)

    def _encode_answer(
        self,
        entity: ApplicationEntity,
        results: list[PresentationContext],
        role_replies: list[SCP_SCU_RoleSelectionNegotiation],
    ) -> bytes:
        answer = A_ASSOCIATE()
        answer.application_context_name = APPLICATION_CONTEXT_UID
        answer.calling_ae_title = answer.called_ae_title = entity.title
        answer.result = ACCEPTED
        answer.presentation_context_definition_results_list = results
        answer.user_information = [*_user_information(entity.max_pdu_bytes), *role_replies]
        pdu = A_ASSOCIATE_AC()
        pdu.from_primitive(answer)
        encoded = bytearray(pdu.encode())
        encoded[TITLES] = self._pdu.titles
        return bytes(encoded)


class AssociateProposal:
    """An A-ASSOCIATE-RQ of ours, and the reading of its answer.

    Parameters
    ----------
    contexts
        At most 128, numbered 1, 3, 5… in their order (PS3.8 9.3.2.2).
    """

    def __init__(
        self,
        *,
        calling_ae_title: str,
        called_ae_title: str,
        contexts: Sequence[ProposedContext],
        max_pdu_bytes: int,
    ) -> None:
        self._calling_ae_title = calling_ae_title
        self._called_ae_title = called_ae_title
        self._contexts = [
            build_context(context.abstract_syntax, list(context.transfer_syntaxes)) for context in contexts
        ]
        for index, context in enumerate(self._contexts):
            context.context_id = 2 * index + 1
        self._max_pdu_bytes = max_pdu_bytes

    def encode(self) -> bytes:
        """Return the A-ASSOCIATE-RQ PDU (PS3.8 9.3.2)."""
        request = A_ASSOCIATE()
        request.application_context_name = APPLICATION_CONTEXT_UID
        request.calling_ae_title = self._calling_ae_title
        request.called_ae_title = self._called_ae_title
        request.presentation_context_definition_list = self._contexts
        request.user_information = _user_information(self._max_pdu_bytes)
        pdu = A_ASSOCIATE_RQ()
        pdu.from_primitive(request)
        return pdu.encode()

    def read_answer(self, pdu: bytes) -> Terms:
        """Return what the peer's A-ASSOCIATE-AC agrees to.

        Raises
        ------
        NegotiationError
            The PDU cannot be read.
        """
        answer = _decode(pdu)
        results = negotiate_as_requestor(self._contexts, self._accepted(answer.contexts))
        return _terms(answer, results, (self._calling_ae_title, self._called_ae_title))

    def _accepted(self, items: Sequence[ContextItem]) -> list[PresentationContext]:
        """Return what was accepted of what was proposed; other results are as good as none."""
        proposed = {context.context_id: context for context in self._contexts}
        accepted = []
        for item in items:
            proposal = proposed.get(item.context_id)
            chosen = [uid for uid in item.transfer_syntaxes if proposal and uid in proposal.transfer_syntax]
            if item.result == ACCEPTED and proposal is not None and chosen:
                context = build_context(str(proposal.abstract_syntax), chosen[0])
                context.context_id = item.context_id
                context.result = ACCEPTED
                accepted.append(context)
        return accepted


def _decode(pdu: bytes) -> AssociatePdu:
    try:
        decoded = decode_associate(pdu)
    except MalformedAssociateError as error:
        raise NegotiationError(f"unreadable A-ASSOCIATE PDU: {error}") from error
    if 0 < decoded.user.max_pdu_bytes < SMALLEST_PDU_BYTES:
        raise NegotiationError(f"a maximum PDU length of {decoded.user.max_pdu_bytes} bytes")
    return decoded


def _user_information(max_pdu_bytes: int) -> _UserInformation:
    length = MaximumLengthNotification()
    length.maximum_length_received = max_pdu_bytes
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return [length, implementation, version]


def _terms(
    peer: AssociatePdu, results: list[PresentationContext], ae_titles: tuple[str, str] | None = None
) -> Terms:
    calling_ae_title, called_ae_title = ae_titles or (peer.calling_ae_title, peer.called_ae_title)
    accepted = [_accepted(result) for result in results if result.result == ACCEPTED]
    return Terms(
        calling_ae_title=calling_ae_title,
        called_ae_title=called_ae_title,
        contexts={context.context_id: context for context in accepted},
        send_pdu_bytes=_even(min(peer.user.max_pdu_bytes or SEND_PDU_LIMIT_BYTES, SEND_PDU_LIMIT_BYTES)),
        peer_implementation_class_uid=peer.user.implementation_class_uid,
        peer_implementation_version_name=peer.user.implementation_version_name,
    )


def _even(limit: int) -> int:
    """Return an even length not over `limit`: DCMTK refuses a fragment of odd length."""
    return limit - limit % 2


def _accepted(result: PresentationContext) -> AcceptedContext:
    if result.context_id is None or not result.transfer_syntax:
        raise NegotiationError("an accepted context without an id or a transfer syntax")
    return AcceptedContext(
        context_id=result.context_id,
        abstract_syntax=str(result.abstract_syntax),
        transfer_syntax=str(result.transfer_syntax[0]),
        as_scu=bool(result.as_scu),
        as_scp=bool(result.as_scp),
    )
