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


class NotFoundError(OperationError):
    """What a keeper named is not in the archive."""


class OperationStoppedError(OperationError):
    """An operation was ended at a safe point: the node stops, or nobody waits for it any longer."""


class RefusedError(PacsliteError):
    """A request is answered with a failure status.

    The peer sees `status` with the error's text as Error Comment and `offending_tags` as Offending Element
    (PS3.7 C.4).
    """

    status: ClassVar[Status] = Status.FAILURE_0110_PROCESSING_FAILURE

    def __init__(self, comment: str, *, offending_tags: tuple[int, ...] = ()) -> None:
        super().__init__(comment)
        self.comment = comment
        self.offending_tags = offending_tags

    @property
    def report(self) -> StatusReport:
        """What the response says."""
        return StatusReport(self.status, self.comment, self.offending_tags)


class OutOfResourcesError(RefusedError):
    """No room, over a limit, or a disk or index failure that a retry may outlive (PS3.4 B.2.3)."""

    status = Status.FAILURE_A700_OUT_OF_RESOURCES


class InstanceMismatchError(RefusedError):
    """The data set is of another SOP Instance than the command says (PS3.4 B.2.3)."""

    status = Status.FAILURE_A900_DATA_SET_DOES_NOT_MATCH_SOP_INSTANCE


class ClassMismatchError(RefusedError):
    """The data set is of another SOP Class than the command says (PS3.4 B.2.3)."""

    status = Status.FAILURE_A901_DATA_SET_DOES_NOT_MATCH_SOP_CLASS


class CannotUnderstandError(RefusedError):
    """The data set does not parse or lacks what every instance must have (PS3.4 B.2.3)."""

    status = Status.FAILURE_C000_CANNOT_UNDERSTAND


class DuplicateInstanceError(RefusedError):
    """The SOP Instance is here already with other content and the policy says refuse (PS3.7 C.5.7)."""

    status = Status.FAILURE_0111_DUPLICATE_SOP_INSTANCE


class ChangedDemographicsError(RefusedError):
    """The patient's name, birth date or sex are not those of this Patient ID, and the archive refuses that.

    The status is of the range that PS3.4 B.2.3 leaves to implementations (A7xx).
    """

    status = Status.FAILURE_A779_CONFLICTING_PATIENT_ATTRIBUTES


class SopClassNotSupportedError(RefusedError):
    """The request's SOP Class is not the one of its presentation context (PS3.7 9.1.1.1.9, C.5.6)."""

    status = Status.FAILURE_0122_SOP_CLASS_NOT_SUPPORTED


class UnrecognizedOperationError(RefusedError):
    """The service class does not know this command (PS3.7 C.5.23)."""

    status = Status.FAILURE_0211_UNRECOGNIZED_OPERATION


class InvalidAttributeValueError(RefusedError):
    """An element of the command has a value that this request cannot have (PS3.7 C.5.9)."""

    status = Status.FAILURE_0106_INVALID_ATTRIBUTE_VALUE


class UnavailableError(PacsliteError):
    """The instance is known, but its file was deleted (Instance Availability, PS3.3 C.4.23.1.1)."""


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
