"""Association negotiation with pynetdicom's codecs and rules (PS3.8 7.1, PS3.7 D)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

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
    strip_uid,
)
from pacslite.upperlayer.entity import ApplicationEntity
from pacslite.upperlayer.syntaxes import STORAGE_TRANSFER_SYNTAXES, is_standard_non_storage

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


@dataclass(frozen=True, slots=True)
class AcceptorRules:
    """What the called archive takes beyond the entity's supported contexts."""

    accept_unknown_sop_classes: bool = False
    private_transfer_syntaxes: Sequence[str] = field(default=())


class AssociateRequest:
    """A decoded A-ASSOCIATE-RQ (PS3.8 9.3.2).

    Raises
    ------
    NegotiationError
        The PDU cannot be read.
    """

    def __init__(self, pdu: bytes) -> None:
        try:
            decoded = A_ASSOCIATE_RQ()
            decoded.decode(pdu)
            self._primitive = decoded.to_primitive()
            self.calling_ae_title = self._primitive.calling_ae_title.strip()
            self.called_ae_title = self._primitive.called_ae_title.strip()
        # pynetdicom's decoders raise whatever their struct, slice or setter meets
        except Exception as error:
            raise NegotiationError(f"unreadable A-ASSOCIATE-RQ: {type(error).__name__}") from error
        self.max_pdu_bytes = self._primitive.maximum_length_received or 0

    @property
    def has_our_application_context(self) -> bool:
        """Whether the peer speaks DICOM (PS3.7 A.2.1)."""
        return strip_uid(self._primitive.application_context_name or "") == APPLICATION_CONTEXT_UID

    def accept(self, entity: ApplicationEntity, rules: AcceptorRules) -> tuple[Terms, bytes]:
        """Return what is agreed, and the A-ASSOCIATE-AC that says so; it may reject every context.

        Raises
        ------
        NegotiationError
            The proposal cannot be answered.
        """
        try:
            return self._accept(entity, rules)
        # as above: contexts with even or repeated ids, without syntaxes, and the like
        except Exception as error:
            raise NegotiationError(f"unanswerable A-ASSOCIATE-RQ: {type(error).__name__}") from error

    def _accept(self, entity: ApplicationEntity, rules: AcceptorRules) -> tuple[Terms, bytes]:
        proposed = self._primitive.presentation_context_definition_list
        roles = {
            item.sop_class_uid: (item.scu_role, item.scp_role)
            for item in self._primitive.user_information
            if isinstance(item, SCP_SCU_RoleSelectionNegotiation) and item.sop_class_uid is not None
        }
        offers = _offers(entity, rules, [str(context.abstract_syntax) for context in proposed])
        results, role_replies = negotiate_as_acceptor(proposed, offers, roles)
        answer = A_ASSOCIATE()
        answer.application_context_name = APPLICATION_CONTEXT_UID
        answer.calling_ae_title = self._primitive.calling_ae_title
        answer.called_ae_title = self._primitive.called_ae_title
        answer.result = ACCEPTED
        answer.presentation_context_definition_results_list = results
        answer.user_information = [*_user_information(entity.max_pdu_bytes), *role_replies]
        pdu = A_ASSOCIATE_AC()
        pdu.from_primitive(answer)
        return _terms(self._primitive, self.calling_ae_title, self.called_ae_title, results), pdu.encode()


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
        try:
            decoded = A_ASSOCIATE_AC()
            decoded.decode(pdu)
            answer = decoded.to_primitive()
            results = negotiate_as_requestor(
                self._contexts, answer.presentation_context_definition_results_list
            )
            return _terms(answer, self._calling_ae_title, self._called_ae_title, results)
        # as in AssociateRequest
        except Exception as error:
            raise NegotiationError(f"unreadable A-ASSOCIATE-AC: {type(error).__name__}") from error


def _offers(
    entity: ApplicationEntity, rules: AcceptorRules, abstract_syntaxes: list[str]
) -> list[PresentationContext]:
    known = entity.offers(abstract_syntaxes)
    offers = known
    private = list(rules.private_transfer_syntaxes)
    if private:
        offers = [
            build_context(context.abstract_syntax or "", [*(context.transfer_syntax or ()), *private])
            if not is_standard_non_storage(str(context.abstract_syntax))
            else context
            for context in known
        ]
    if rules.accept_unknown_sop_classes:
        served = {str(context.abstract_syntax) for context in known}
        offers = offers + [
            build_context(uid, [*STORAGE_TRANSFER_SYNTAXES, *private])
            for uid in dict.fromkeys(abstract_syntaxes)
            if uid not in served and not is_standard_non_storage(uid)
        ]
    return offers


def _user_information(max_pdu_bytes: int) -> _UserInformation:
    length = MaximumLengthNotification()
    length.maximum_length_received = max_pdu_bytes
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return [length, implementation, version]


def _terms(
    primitive: A_ASSOCIATE, calling_ae_title: str, called_ae_title: str, results: list[PresentationContext]
) -> Terms:
    peer_limit = primitive.maximum_length_received or SEND_PDU_LIMIT_BYTES
    version = next(
        (
            item.implementation_version_name
            for item in primitive.user_information
            if isinstance(item, ImplementationVersionNameNotification)
        ),
        None,
    )
    return Terms(
        calling_ae_title=calling_ae_title,
        called_ae_title=called_ae_title,
        contexts={
            context.context_id: context
            for context in (_accepted(result) for result in results if result.result == ACCEPTED)
        },
        send_pdu_bytes=min(peer_limit, SEND_PDU_LIMIT_BYTES),
        peer_implementation_class_uid=strip_uid(primitive.implementation_class_uid or ""),
        peer_implementation_version_name=version or "",
    )


def _accepted(result: PresentationContext) -> AcceptedContext:
    if result.context_id is None or not result.transfer_syntax:
        raise ValueError("an accepted context without an id or a transfer syntax")
    return AcceptedContext(
        context_id=result.context_id,
        abstract_syntax=strip_uid(result.abstract_syntax or ""),
        transfer_syntax=strip_uid(result.transfer_syntax[0]),
        as_scu=bool(result.as_scu),
        as_scp=bool(result.as_scp),
    )
