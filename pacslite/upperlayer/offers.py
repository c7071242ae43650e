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


@dataclass(frozen=True, slots=True)
class Offer:
    """What is supported of one abstract syntax; the roles are None where role selection is not answered."""

    transfer_syntaxes: frozenset[str]
    scu_role: bool | None = None
    scp_role: bool | None = None


def offers_for(
    entity: ApplicationEntity, rules: AcceptorRules, abstract_syntaxes: list[str]
) -> dict[str, Offer]:
    """Return what the called archive supports of `abstract_syntaxes`."""
    private = frozenset(rules.private_transfer_syntaxes)
    offers = {}
    for context in entity.offers(abstract_syntaxes):
        uid = str(context.abstract_syntax)
        syntaxes: frozenset[str] = frozenset(context.transfer_syntax)
        if not is_standard_non_storage(uid):
            syntaxes |= private
        offers[uid] = Offer(syntaxes, context.scu_role, context.scp_role)
    if rules.accept_unknown_sop_classes:
        unknown = Offer(private.union(STORAGE_TRANSFER_SYNTAXES))
        for uid in abstract_syntaxes:
            if uid not in offers and is_legal_uid(uid) and not is_standard_non_storage(uid):
                offers[uid] = unknown
    return offers


def choose(item: ContextItem, offers: Mapping[str, Offer]) -> PresentationContext:
    """Return a proposal of the one transfer syntax that will be taken: pynetdicom checks each at length."""
    offer = offers.get(item.abstract_syntax)
    common = [uid for uid in item.transfer_syntaxes if uid in offer.transfer_syntaxes] if offer else []
    # dcmsend names first what it need not decompress; of native ones explicit little endian is the safest.
    chosen = common[0] if common else _NO_UID
    if chosen in _SECOND_TO_EXPLICIT and EXPLICIT_VR_LITTLE_ENDIAN in common:
        chosen = EXPLICIT_VR_LITTLE_ENDIAN
    context = build_context(item.abstract_syntax if is_legal_uid(item.abstract_syntax) else _NO_UID, chosen)
    context.context_id = item.context_id
    return context


def supported(
    offers: Mapping[str, Offer], proposed: Sequence[PresentationContext]
) -> list[PresentationContext]:
    """Return `offers` as pynetdicom takes them, with those transfer syntaxes only that `proposed` chose."""
    chosen: dict[str, set[str]] = {uid: set() for uid in offers}
    for context in proposed:
        if context.abstract_syntax in chosen:
            chosen[context.abstract_syntax].update(context.transfer_syntax)
    contexts = []
    for uid, offer in offers.items():
        context = build_context(uid, sorted(chosen[uid] - {_NO_UID}))
        context.scu_role, context.scp_role = offer.scu_role, offer.scp_role
        contexts.append(context)
    return contexts
