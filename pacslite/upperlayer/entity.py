"""The application entity: pynetdicom's, which says what we support, without its polling threads."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Self

from pynetdicom import AE
from pynetdicom.presentation import PresentationContext

from pacslite.model.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    VERIFICATION_SOP_CLASS_UID,
)
from pacslite.settings.schema import AssociationSettings, Settings
from pacslite.upperlayer.admission import AdmissionRules
from pacslite.upperlayer.syntaxes import (
    MESSAGE_TRANSFER_SYNTAXES,
    STORAGE_SOP_CLASSES,
    STORAGE_TRANSFER_SYNTAXES,
)

UNLIMITED_PDU_BYTES: Final = 1024 * 1024
"""What we announce in place of "no limit": a declared length is always checked against something."""


class ApplicationEntity:
    """What one AE is called, supports and waits for; wraps a `pynetdicom.AE`.

    Parameters
    ----------
    ae
        Its AE title, supported contexts, maximum PDU size, limit of associations, timeouts and required AE
        titles are honoured. It is never started: the sockets are ours.
    """

    def __init__(self, ae: AE) -> None:
        self.ae = ae
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._offers = {str(context.abstract_syntax): context for context in ae.supported_contexts}

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return an entity that verifies and stores, as `settings` say."""
        ae = AE(settings.ae_title)
        ae.maximum_pdu_size = settings.association.max_pdu_bytes
        ae.maximum_associations = settings.association.max_associations
        ae.acse_timeout = settings.association.artim_seconds
        ae.dimse_timeout = settings.association.dimse_seconds
        ae.network_timeout = settings.association.idle_seconds
        ae.connection_timeout = settings.association.connect_seconds
        ae.add_supported_context(VERIFICATION_SOP_CLASS_UID, list(MESSAGE_TRANSFER_SYNTAXES))
        for sop_class_uid in STORAGE_SOP_CLASSES:
            ae.add_supported_context(sop_class_uid, list(STORAGE_TRANSFER_SYNTAXES))
        return cls(ae)

    def name_in(self, settings: Settings) -> Settings:
        """Return `settings` with this entity's AE title, which archives without titles of their own have."""
        return settings.model_copy(update={"ae_title": self.title})

    def apply_to(self, settings: AssociationSettings) -> AssociationSettings:
        """Return `settings` with what this entity says about limits and timers; its None leaves a setting."""
        said = {
            "max_associations": self.ae.maximum_associations,
            "artim_seconds": self.ae.acse_timeout,
            "dimse_seconds": self.ae.dimse_timeout,
            "idle_seconds": self.ae.network_timeout,
            "connect_seconds": self.ae.connection_timeout,
        }
        return settings.model_copy(update={key: value for key, value in said.items() if value is not None})

    def require(self, rules: AdmissionRules) -> AdmissionRules:
        """Return `rules` with the AE titles that pynetdicom's AE was told to require."""
        anywhere: tuple[IPv4Network | IPv6Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
        if self.ae.require_calling_aet:
            known = {rules.fold(title.strip()): anywhere for title in self.ae.require_calling_aet}
            rules = replace(rules, known=known, accepts_unknown_peers=False)
        if self.ae.require_called_aet:
            rules = replace(
                rules, called_ae_titles=frozenset({rules.fold(self.title)}), accepts_any_called_ae=False
            )
        return rules

    @property
    def title(self) -> str:
        """The AE title, without padding."""
        return self.ae.ae_title.strip()

    @property
    def max_pdu_bytes(self) -> int:
        """The longest P-DATA-TF variable field that we announce; 0 at pynetdicom means no limit."""
        return self.ae.maximum_pdu_size or UNLIMITED_PDU_BYTES

    def offers(self, abstract_syntaxes: Iterable[str]) -> list[PresentationContext]:
        """Return the supported contexts among `abstract_syntaxes`."""
        return [self._offers[uid] for uid in dict.fromkeys(abstract_syntaxes) if uid in self._offers]
