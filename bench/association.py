"""A DICOM requestor of a few raw bytes: it associates for Verification and sends C-ECHO requests.

It costs the machine so little that a rate of C-ECHOs is the receiver's, and it holds hundreds of associations
in one process.
"""

import socket
import struct
from types import TracebackType
from typing import Final, Self

from bench.processes import StepError

_VERIFICATION: Final = b"1.2.840.10008.1.1"
_IMPLICIT_LITTLE_ENDIAN: Final = b"1.2.840.10008.1.2"
_APPLICATION_CONTEXT: Final = b"1.2.840.10008.3.1.1.1"
_IMPLEMENTATION: Final = b"2.25.310574962203571820482719301846573829104"

_ASSOCIATE_AC: Final = 0x02
_P_DATA_TF: Final = 0x04
_ABORT: Final = struct.pack(">BxIxxBB", 0x07, 4, 0, 0)
_REFUSALS: Final = {0x03: "rejected the association", 0x07: "aborted"}

_CONTEXT_ID: Final = 1
_LAST_COMMAND_FRAGMENT: Final = 0x03
_SUCCESS: Final = struct.pack("<HHIH", 0x0000, 0x0900, 2, 0x0000)


class Association:
    """An association in which nothing but Verification was proposed (PS3.8 9.3.2).

    Parameters
    ----------
    address
        Host and port of the acceptor.
    called_ae_title
        The acceptor's AE title.
    timeout_seconds
        Longest wait for the connection and for each answer.

    Raises
    ------
    StepError
        The acceptor does not answer, rejects or aborts.
    """

    def __init__(self, address: tuple[str, int], called_ae_title: str, timeout_seconds: float = 10.0) -> None:
        try:
            self._socket = socket.create_connection(address, timeout_seconds)
        except OSError as error:
            raise StepError(f"no connection: {error}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._echo = _echo_request()
        try:
            self._exchange(_associate_request(called_ae_title), _ASSOCIATE_AC)
        except StepError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def echo(self) -> None:
        """Send one C-ECHO request and wait for its Success (PS3.7 9.3.5); raise `StepError` otherwise."""
        if not self._exchange(self._echo, _P_DATA_TF).endswith(_SUCCESS):
            raise StepError("a C-ECHO was not answered with Success")

    def close(self) -> None:
        """Abort the association and close its connection."""
        try:
            self._socket.sendall(_ABORT)
        except OSError:
            pass  # the acceptor was faster
        finally:
            self._socket.close()

    def _exchange(self, request: bytes, expected: int) -> bytes:
        """Send a PDU and return the body of the next one, which must be of the `expected` type."""
        try:
            self._socket.sendall(request)
            kind, length = struct.unpack(">BxI", self._receive(6))
            body = self._receive(length)
        except OSError as error:
            raise StepError(f"no answer: {error}") from error
        if kind != expected:
            raise StepError(_REFUSALS.get(kind, f"answered with a PDU of type {kind:02X}H"))
        return body

    def _receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = self._socket.recv(length - len(data))
            if not part:
                raise StepError("closed the connection")
            data += part
        return data


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _associate_request(called_ae_title: str) -> bytes:
    """Return an A-ASSOCIATE-RQ that proposes Verification in Implicit VR Little Endian (PS3.8 9.3.2)."""
    syntaxes = _item(0x30, _VERIFICATION) + _item(0x40, _IMPLICIT_LITTLE_ENDIAN)
    context = struct.pack(">Bxxx", _CONTEXT_ID) + syntaxes
    user = _item(0x51, struct.pack(">I", 16384)) + _item(0x52, _IMPLEMENTATION)
    titles = called_ae_title.ljust(16).encode("ascii") + b"BENCH".ljust(16)
    fixed = struct.pack(">Hxx", 1) + titles + bytes(32)
    body = fixed + _item(0x10, _APPLICATION_CONTEXT) + _item(0x20, context) + _item(0x50, user)
    return struct.pack(">BxI", 0x01, len(body)) + body


def _echo_request() -> bytes:
    """Return a P-DATA-TF with a C-ECHO-RQ (PS3.7 9.3.5.1)."""
    values = {
        0x0002: _VERIFICATION + b"\0",
        0x0100: struct.pack("<H", 0x0030),
        0x0110: struct.pack("<H", 1),
        0x0800: struct.pack("<H", 0x0101),
    }
    elements = b"".join(_command_element(number, value) for number, value in values.items())
    command = _command_element(0x0000, struct.pack("<I", len(elements))) + elements
    value = struct.pack(">IBB", len(command) + 2, _CONTEXT_ID, _LAST_COMMAND_FRAGMENT) + command
    return struct.pack(">BxI", _P_DATA_TF, len(value)) + value


def _command_element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0x0000, number, len(value)) + value
