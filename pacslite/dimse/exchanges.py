"""Requests of ours and the responses that they wait for (PS3.7 6.3.1)."""

import asyncio
from dataclasses import dataclass
from typing import Final

from pacslite.dimse.commands import Command, InvalidCommandError
from pacslite.dimse.sinks import MemorySink
from pacslite.model.errors import AssociationError

MAX_RESPONSE_DATA_SET_BYTES: Final = 16 * 1024 * 1024

Response = tuple[Command, bytes]
"""A response's command, and its data set if it has one."""


@dataclass(slots=True)
class _Exchange:
    response: asyncio.Future[Response]
    sink: MemorySink | None = None


class Exchanges:
    """What we have asked on one association and not been answered yet."""

    def __init__(self) -> None:
        self._exchanges: dict[int, _Exchange] = {}
        self._open: tuple[_Exchange, Command] | None = None
        self._last_message_id = 0
        self._failure: AssociationError | None = None

    def next_message_id(self) -> int:
        """Return a Message ID that no outstanding request has (PS3.7 9.1)."""
        self._last_message_id = self._last_message_id % 0xFFFF + 1
        return self._last_message_id

    def expect(self, message_id: int) -> asyncio.Future[Response]:
        """Return what will hold the response to `message_id`, or why it will not come."""
        response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        if self._failure is not None:
            response.set_exception(self._failure)
        else:
            self._exchanges[message_id] = _Exchange(response)
        return response

    def forget(self, message_id: int) -> None:
        """Take back `expect`."""
        self._exchanges.pop(message_id, None)

    def take_response(self, command: Command) -> MemorySink | None:
        """Take a response; return where its data set goes, if it has one.

        Raises
        ------
        InvalidCommandError
            Nothing was asked that this answers.
        """
        exchange = self._exchanges.get(command.message_id_responded_to)
        if exchange is None:
            raise InvalidCommandError("a response to nothing that was asked")
        if not command.has_data_set:
            _settle(exchange, command)
            return None
        exchange.sink = MemorySink(MAX_RESPONSE_DATA_SET_BYTES)
        self._open = exchange, command
        return exchange.sink

    def take_data_set(self) -> None:
        """Hand over the response whose data set is complete."""
        if self._open is not None:
            (exchange, command), self._open = self._open, None
            _settle(exchange, command)

    def fail(self, error: AssociationError) -> None:
        """Tell all who wait, or will, that the association is gone."""
        self._failure = error
        exchanges, self._exchanges = self._exchanges, {}
        for exchange in exchanges.values():
            if not exchange.response.done():
                exchange.response.set_exception(error)


def _settle(exchange: _Exchange, command: Command) -> None:
    data = bytes(exchange.sink.data) if exchange.sink is not None else b""
    if not exchange.response.done():
        exchange.response.set_result((command, data))
