"""What is offered to a requestor, and which of its transfer syntaxes is taken (PS3.8 9.3.3.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pynetdicom.presentation import PresentationContext, build_context

from pacslite.model.uids import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    is_legal_uid,
)
from pacslite.upperlayer.associate import ContextItem
from pacslite.upperlayer.entity import ApplicationEntity
from pacslite.upperlayer.syntaxes import STORAGE_TRANSFER_SYNTAXES, is_standard_non_storage

_SECOND_TO_EXPLICIT: Final = frozenset({IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN})
"""Implicit VR hides the VRs of private elements; big endian is retired."""
_NO_UID: Final = "2.25.0"
"""Stands for what a peer sent in place of a UID, and for transfer syntaxes without interest to us."""


@dataclass(frozen=True, slots=True)
class AcceptorRules:
    """What the called archive takes beyond the entity's supported contexts."""

    accept_unknown_sop_classes: bool = False
    private_transfer_syntaxes: Sequence[str] = field(default=())


def choose(item: ContextItem, offers: Mapping[str, PresentationContext]) -> PresentationContext:
    """Return a proposal of the one transfer syntax that will be taken: pynetdicom checks each at length."""
    offer = offers.get(item.abstract_syntax)
    offered: frozenset[str] = frozenset(() if offer is None else offer.transfer_syntax)
    common = [uid for uid in item.transfer_syntaxes if uid in offered]
    # dcmsend names first what it need not decompress; of native ones explicit little endian is the safest.
    chosen = common[0] if common else _NO_UID
    if chosen in _SECOND_TO_EXPLICIT and EXPLICIT_VR_LITTLE_ENDIAN in common:
        chosen = EXPLICIT_VR_LITTLE_ENDIAN
    context = build_context(item.abstract_syntax if is_legal_uid(item.abstract_syntax) else _NO_UID, chosen)
    context.context_id = item.context_id
    return context


def offers_for(
    entity: ApplicationEntity, rules: AcceptorRules, abstract_syntaxes: list[str]
) -> list[PresentationContext]:
    """Return what the called archive supports of `abstract_syntaxes`."""
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
            if is_legal_uid(uid) and uid not in served and not is_standard_non_storage(uid)
        ]
    return offers
