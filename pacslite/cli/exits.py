"""How a command ends, and which end an error means."""

from enum import IntEnum
from typing import Final

from pacslite.model.errors import (
    AssociationError,
    ConfigurationError,
    DataFolderError,
    IndexRevisionError,
    PacsliteError,
)


class ExitCode(IntEnum):
    """The exit status of a command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    DATA = 4
    NETWORK = 5
    INTERRUPTED = 130


MEANINGS: Final = {
    ExitCode.OK: "It worked; `serve` was stopped and drained.",
    ExitCode.FAILED: "It failed, or a part of it did.",
    ExitCode.USAGE: "The command line is wrong.",
    ExitCode.CONFIGURATION: "The settings are wrong, a peer is unknown, or an address cannot be bound.",
    ExitCode.DATA: "The data folder cannot be used, or its index is of another revision.",
    ExitCode.NETWORK: "An association was refused, lost or not answered.",
    ExitCode.INTERRUPTED: "It was interrupted; `serve` was told twice to stop.",
}


_CODES: Final = (
    (ConfigurationError, ExitCode.CONFIGURATION),
    (DataFolderError, ExitCode.DATA),
    (IndexRevisionError, ExitCode.DATA),
    (AssociationError, ExitCode.NETWORK),
)


def exit_code_of(error: PacsliteError) -> ExitCode:
    """Return how a command ends that `error` ended."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)
