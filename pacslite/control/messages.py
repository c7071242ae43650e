"""What goes over the control socket: one JSON object per line.

The one who asks sends `{"operation", "archive", "arguments"}` and reads `{"progress": {"done", "total",
"what"}}` as often as it comes, then `{"result"}` or `{"error": {"kind", "text"}}`. One request a connection.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from pacslite.model.errors import (
    ConfigurationError,
    DataFolderError,
    IndexRevisionError,
    NotFoundError,
    OperationError,
    OperationStoppedError,
    PacsliteError,
)

SOCKET_NAME: Final = "control.sock"
MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
"""A request may name every file of an import."""

_KINDS: Final[Mapping[str, type[PacsliteError]]] = {
    kind.__name__: kind
    for kind in (
        ConfigurationError,
        DataFolderError,
        IndexRevisionError,
        NotFoundError,
        OperationError,
        OperationStoppedError,
    )
}


class Request(BaseModel):
    """What is asked of a node."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, strict=True)

    operation: str
    archive: str | None = None
    arguments: dict[str, Any] = {}


def socket_path(data_folder: Path) -> Path:
    """Return where the node of a data folder listens to its keeper."""
    return data_folder / SOCKET_NAME


def encode(message: Mapping[str, Any]) -> bytes:
    """Return `message` as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode_request(line: bytes) -> Request:
    """Return the request that a line says.

    Raises
    ------
    OperationError
        It is none.
    """
    try:
        return Request.model_validate_json(line)
    except ValidationError:
        raise OperationError("the request is not one that this node understands") from None


def error_message(error: PacsliteError) -> dict[str, Any]:
    """Return what the one who asked is told of `error`: its text, and the nearest kind known to both."""
    kind = next(
        (known.__name__ for known in type(error).__mro__ if known.__name__ in _KINDS), "OperationError"
    )
    return {"error": {"kind": kind, "text": str(error)}}


def error_of(told: Mapping[str, Any]) -> PacsliteError:
    """Return the error that `told` says, as if it had been raised here."""
    return _KINDS.get(str(told.get("kind")), OperationError)(str(told.get("text")))
