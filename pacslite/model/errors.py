"""The node's errors; each says what is wrong and, where a peer is told, with which status."""

from typing import ClassVar

from pacslite.model.statuses import Status, StatusReport


class PacsliteError(Exception):
    """Whatever the node itself refuses or fails at; its text is fit for an operator."""


class ConfigurationError(PacsliteError):
    """The settings are wrong; the text names the file and the key."""


class DataFolderError(PacsliteError):
    """The data folder cannot be used: in use, read-only, on the wrong file system."""


class IndexRevisionError(PacsliteError):
    """The index is of another schema revision; the text names the command that mends it."""


class OperationError(PacsliteError):
    """What a keeper asked of an archive could not be done; the text says why."""


class AssociationError(PacsliteError):
    """An association that we asked for could not be made or did not last."""


class AssociationRejectedError(AssociationError):
    """The peer answered with A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    def __init__(self, peer: str, result: int, source: int, reason: int) -> None:
        super().__init__(
            f"{peer} rejected the association: result {result}, source {source}, reason {reason}"
        )
        self.result = result
        self.source = source
        self.reason = reason


class AssociationAbortedError(AssociationError):
    """The association ended by A-ABORT or by the loss of its connection (PS3.8 9.3.8)."""


class AssociationTimeoutError(AssociationError):
    """The peer did not answer in time."""


class ContextNotAcceptedError(PacsliteError):
    """The peer accepted the association, but no presentation context for this (PS3.8 9.3.3.2)."""
