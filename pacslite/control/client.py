"""Asking the node that runs on a data folder."""

import contextlib
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from pacslite.archive.operation import Progress, ignore_progress
from pacslite.control.addresses import connect
from pacslite.control.messages import encode, error_of
from pacslite.model.errors import OperationError
from pacslite.storage.lock import find_owner

_CONNECT_SECONDS: Final = 10.0


class NodeClient:
    """A keeper whose operations the node of `data_folder` carries out."""

    is_alone = False

    def __init__(self, data_folder: Path, pid: int | None) -> None:
        self._data_folder = data_folder
        self.via = f"node process {pid or 'unknown'}"

    @classmethod
    def find(cls, data_folder: Path) -> Self | None:
        """Return a client of the node that takes commands for `data_folder`, or None."""
        try:
            connect(data_folder, _CONNECT_SECONDS).close()
        except OSError:
            return None
        return cls(data_folder, find_owner(data_folder))

    def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        progress: Progress = ignore_progress,
        archive: str | None = None,
    ) -> Any:
        """Let the node carry out an operation; it goes on when this process ends, unless it is abandonable.

        Raises
        ------
        PacsliteError
            As the operation says; OperationError when the node ended meanwhile.
        """
        request = {"operation": name, "archive": archive, "arguments": dict(arguments)}
        try:
            with connect(self._data_folder, _CONNECT_SECONDS) as connection:
                connection.settimeout(None)
                with connection.makefile("rb") as lines:
                    _send(connection, encode(request))
                    return _read(lines, progress)
        except OSError as error:
            raise OperationError(f"{self.via} does not answer: {error.strerror or error}") from error


def _send(connection: socket.socket, line: bytes) -> None:
    """Send a request; a node that refuses it before its end has said why."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(line)


def _read(lines: BinaryIO, progress: Progress) -> Any:
    for line in lines:
        if not line.endswith(b"\n"):
            break
        message = json.loads(line)
        if "result" in message:
            return message["result"]
        if "error" in message:
            raise error_of(message["error"])
        told = message["progress"]
        progress(told["done"], told["total"], told["what"])
    raise OperationError("the node ended before it was done")
