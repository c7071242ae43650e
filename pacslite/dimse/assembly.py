"""Messages from fragments (PS3.8 Annex E, PS3.7 6.3)."""

from typing import Final, Protocol

from pacslite.dimse.commands import Command, InvalidCommandError, decode_command
from pacslite.dimse.sinks import DataSink
from pacslite.upperlayer.pdu import COMMAND, LAST_FRAGMENT

MAX_COMMAND_BYTES: Final = 64 * 1024
"""The largest command set of the standard stays under 1 kB."""


class InvalidMessageError(Exception):
    """Fragments that make no message; the association cannot go on."""


class MessageReceiver(Protocol):
    """Who is told of the messages."""

    def command_received(self, context_id: int, command: Command) -> DataSink | None:
        """Take a command; return where its data set goes, or None when it has none."""

    def data_set_received(self) -> None:
        """Take note that the sink last returned has its whole data set."""


class MessageAssembler:
    """Puts commands together and passes data sets on, from any fragmentation.

    Parameters
    ----------
    receiver
        Called for each command and at the end of each data set, from within `take`.
    """

    __slots__ = ("_command", "_context_id", "_receiver", "is_message_open", "sink")

    def __init__(self, receiver: MessageReceiver) -> None:
        self._receiver = receiver
        self._command = bytearray()
        self._context_id = 0
        self.is_message_open = False
        self.sink: DataSink | None = None

    def take(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool, is_own: bool) -> None:
        """Take a piece of a PDV.

        Raises
        ------
        InvalidMessageError
            The piece does not belong here: a data set without a command, a command within a data set, a
            change of context within a message, or a command set that is none.
        """
        if not self.is_message_open:
            self._context_id = context_id
            self.is_message_open = True
        elif context_id != self._context_id:
            raise InvalidMessageError("a message on two presentation contexts")
        is_end = is_whole and bool(control & LAST_FRAGMENT)
        if control & COMMAND:
            self._take_command(piece, is_end=is_end)
        else:
            self._take_data(piece, is_end=is_end, is_own=is_own)

    def _take_command(self, piece: memoryview, *, is_end: bool) -> None:
        if self.sink is not None:
            raise InvalidMessageError("a command within a data set")
        if len(self._command) + len(piece) > MAX_COMMAND_BYTES:
            raise InvalidMessageError(f"a command set of more than {MAX_COMMAND_BYTES} bytes")
        self._command += piece
        if not is_end:
            return
        data = bytes(self._command)
        self._command.clear()
        try:
            self.sink = self._receiver.command_received(self._context_id, decode_command(data))
        except InvalidCommandError as error:
            raise InvalidMessageError(str(error)) from error
        self.is_message_open = self.sink is not None

    def _take_data(self, piece: memoryview, *, is_end: bool, is_own: bool) -> None:
        sink = self.sink
        if sink is None:
            raise InvalidMessageError("a data set without a command")
        sink.write(piece, is_own=is_own)
        if is_end:
            self.sink = None
            self.is_message_open = False
            self._receiver.data_set_received()
