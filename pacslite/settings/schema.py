"""Every setting of a node, with its default, its bounds and what it means.

`config/pacslite.yaml` and `docs/configuration.md` say the same; tests hold the three together.
"""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from pacslite.model.instances import DuplicatePolicy
from pacslite.settings.limits import (
    AssociationSettings,
    IndexSettings,
    JobSettings,
    LoggingSettings,
    StorageSettings,
)
from pacslite.settings.section import Section
from pacslite.settings.values import (
    AeTitle,
    Flag,
    Folder,
    FolderName,
    Host,
    KeyedError,
    ListenPort,
    Network,
    PeerName,
    Port,
    Uid,
    is_loopback,
    require_unique,
)

__all__ = [
    "AdmissionSettings",
    "ArchiveSettings",
    "AssociationSettings",
    "IndexSettings",
    "JobSettings",
    "Listener",
    "LoggingSettings",
    "PeerSettings",
    "Section",
    "Settings",
    "StorageSettings",
]


class Listener(Section):
    """An address that the node accepts associations on."""

    host: Host = Field(
        default="127.0.0.1",
        description="Host name or IP address to bind; `0.0.0.0` or `::` binds every interface.",
    )
    port: ListenPort = Field(default=11112, description="TCP port; 0 lets the system choose a free one.")


class ArchiveSettings(Section):
    """An archive: a store of files and its index, apart from every other archive of the node."""

    name: FolderName = Field(
        default="main",
        description="Names the archive's folder: 1 to 32 of a-z, 0-9 and hyphen.",
    )
    ae_titles: list[AeTitle] = Field(
        default=[],
        description="Called AE titles that lead to this archive. Empty (one archive only): the node's own.",
    )
    duplicate_policy: DuplicatePolicy = Field(
        default=DuplicatePolicy.KEEP_FIRST,
        description="What happens when a SOP Instance UID arrives again with other content. "
        "`keep-first`: the newcomer is kept aside as a conflict; `replace-same-source`: a resend from the "
        "same calling AE title replaces, the old version is kept aside; `replace`: any newcomer replaces; "
        "`refuse`: the sender gets status 0111.",
    )
    refuse_changed_demographics: Flag = Field(
        default=False,
        description="Whether an instance is refused with status A779 when its Patient ID is known with "
        "another name, birth date or sex. False: it is stored, the patient keeps what came first, and the "
        "difference is journaled.",
    )
    accept_unknown_sop_classes: Flag = Field(
        default=False, description="Also accept storage of SOP classes that the node does not know."
    )
    private_transfer_syntaxes: list[Uid] = Field(
        default=[],
        description="UIDs of private transfer syntaxes to accept; their data sets are stored as they came.",
    )
    index_url: str | None = Field(
        default=None,
        repr=False,
        pattern=r"^[a-z][a-z0-9+]*://",
        description="SQLAlchemy URL of the index. Null: SQLite in the data folder.",
    )

    def titles(self, settings: "Settings") -> list[str]:
        """Return the called AE titles that lead to this archive of the node with `settings`."""
        return list(self.ae_titles) or [settings.ae_title]


class AdmissionSettings(Section):
    """Who may associate with the node, and under which called AE title."""

    accept_any_called_ae: Flag | None = Field(
        default=None,
        description="Whether associations for an AE title that no archive has reach the first archive. "
        "Null: true exactly when every listener is on loopback and `peers` is empty.",
    )
    allow_unknown_peers: Flag | None = Field(
        default=None,
        description="Whether AE titles and addresses that `peers` does not list may associate. "
        "Null: true exactly when every listener is on loopback and `peers` is empty.",
    )
    ignore_ae_title_case: Flag = Field(
        default=False,
        description="Whether `Ct1` and `CT1` are the same AE title; in the standard they are not.",
    )


class PeerSettings(Section):
    """Another application entity that the node knows."""

    name: PeerName = Field(description="What commands call this peer, 1 to 80 characters.")
    ae_title: AeTitle = Field(description="The peer's AE title, 1 to 16 characters.")
    host: Host = Field(description="Host name or IP address; the peer may also call from it.")
    port: Port = Field(default=104, description="The TCP port that the peer listens on.")
    addresses: list[Network] = Field(
        default=[],
        description="Further IP addresses or blocks (`10.0.0.0/24`) that the peer may call from.",
    )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


class Settings(Section):
    """All settings of a node."""

    data_folder: Folder = Field(
        default=Path("data"),
        description="Folder of the archives; a relative path starts at the working directory.",
    )
    node_name: FolderName = Field(
        default="node1",
        description="Names this node among those that share archives: 1 to 32 of a-z, 0-9 and hyphen.",
    )
    ae_title: AeTitle = Field(default="PACSLITE", description="The node's own AE title, 1 to 16 characters.")
    listen: list[Listener] = Field(
        default=[Listener()], min_length=1, description="The addresses that the node accepts associations on."
    )
    archives: list[ArchiveSettings] = Field(
        default=[ArchiveSettings()], min_length=1, description="The archives; the first one is the default."
    )
    admission: AdmissionSettings = Field(default=AdmissionSettings(), description="Who may associate.")
    peers: list[PeerSettings] = Field(default=[], description="The application entities that the node knows.")
    association: AssociationSettings = Field(
        default=AssociationSettings(), description="Limits and timers of associations."
    )
    storage: StorageSettings = Field(default=StorageSettings(), description="Limits of the store.")
    index: IndexSettings = Field(default=IndexSettings(), description="How the index is written and read.")
    jobs: JobSettings = Field(default=JobSettings(), description="How what was promised for later is done.")
    logging: LoggingSettings = Field(default=LoggingSettings(), description="What goes to standard error.")

    @property
    def is_loopback_only(self) -> bool:
        """Whether only this machine can reach the node."""
        return all(is_loopback(listener.host) for listener in self.listen)

    @property
    def accepts_any_called_ae(self) -> bool:
        """Whether associations for an AE title that no archive has reach the first archive."""
        choice = self.admission.accept_any_called_ae
        return self._is_private if choice is None else choice

    @property
    def accepts_unknown_peers(self) -> bool:
        """Whether AE titles and addresses that `peers` does not list may associate."""
        choice = self.admission.allow_unknown_peers
        return self._is_private if choice is None else choice

    @property
    def _is_private(self) -> bool:
        return self.is_loopback_only and not self.peers

    @model_validator(mode="after")
    def _check_names_are_unique(self) -> Self:
        require_unique("archives", "name", [archive.name for archive in self.archives])
        urls = [archive.index_url for archive in self.archives if archive.index_url is not None]
        if len(set(urls)) < len(urls):
            raise KeyedError("archives", "two archives have the same index_url")  # it may hold a password
        require_unique("peers", "name", [peer.name for peer in self.peers])
        titles = [title for archive in self.archives for title in archive.titles(self)]
        if self.admission.ignore_ae_title_case:
            titles = [title.upper() for title in titles]
        require_unique("archives", "AE title", titles)
        return self

    @model_validator(mode="after")
    def _check_strangers_are_meant(self) -> Self:
        if not (self.is_loopback_only or self.peers or self.admission.allow_unknown_peers):
            exposed = next(listener.host for listener in self.listen if not is_loopback(listener.host))
            raise KeyedError(
                "listen",
                f"{exposed} can be reached from other machines: list `peers`, or set "
                "admission.allow_unknown_peers to true to let anyone in",
            )
        return self
