"""One association: its messages put together, its requests served, its responses handed to who waits."""

import asyncio

import structlog

from pacslite.dimse.assembly import InvalidMessageError, MessageAssembler
from pacslite.dimse.commands import Command, CommandField
from pacslite.dimse.exchanges import Exchanges
from pacslite.dimse.serving import Request, Server, Serving
from pacslite.dimse.sinks import DataSink, MemorySink
from pacslite.model.errors import AssociationAbortedError, AssociationTimeoutError
from pacslite.settings.schema import AssociationSettings
from pacslite.upperlayer.connection import Connection
from pacslite.upperlayer.negotiation import Terms
from pacslite.upperlayer.pdu import AbortReason, AbortSource, p_data_pdus
from pacslite.upperlayer.ports import Ending
from pacslite.upperlayer.timers import LazyTimer

log = structlog.get_logger(__name__)


class Session:
    """The user of an established association (PS3.7 7).

    Parameters
    ----------
    connection, terms
        The association.
    association_id
        For log lines and provenance.
    settings
        DIMSE timer and minimum rate.
    server
        Serves the peer's requests; None refuses them all.
    """

    def __init__(
        self,
        connection: Connection,
        terms: Terms,
        association_id: str,
        settings: AssociationSettings,
        server: Server | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.connection = connection
        self.terms = terms
        self.association_id = association_id
        self._settings = settings
        self._server = server
        self._assembler = MessageAssembler(self)
        self._buffered_sink: DataSink | None = None
        self._watch = LazyTimer(loop, self._check_progress)
        self._received_bytes = 0
        self._watched_bytes = 0
        self._open_request: Request | None = None
        self._serving = Serving(self, server, self._served)
        self.exchanges = Exchanges()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._release_asked = False
        self._last_request_at = loop.time()
        self._is_closed = False
        self.finished: asyncio.Future[None] = loop.create_future()

    def receive_buffer(self) -> memoryview | None:
        """Return the memory of the data set under way, if it has any."""
        self._buffered_sink = self._assembler.sink
        return self._buffered_sink.buffer() if self._buffered_sink is not None else None

    def buffer_filled(self, received_bytes: int) -> None:
        """Pass on how much of that memory is in use."""
        if self._assembler.sink is not None:
            self._assembler.sink.filled(received_bytes)

    def fragment_received(
        self, context_id: int, control: int, piece: memoryview, *, is_whole: bool, is_own: bool
    ) -> None:
        """Put messages together; what makes none ends the association."""
        if not self._assembler.is_message_open:
            if context_id not in self.terms.contexts:
                self._abort_as_provider(f"presentation context {context_id} was not accepted")
                return
            self._watched_bytes = self._received_bytes
            self._watch.start(self._settings.dimse_seconds)
        self._received_bytes += len(piece)
        # behind the end of a data set, its memory holds the beginning of the next one
        is_own = is_own and self._assembler.sink is self._buffered_sink
        try:
            self._assembler.take(context_id, control, piece, is_whole=is_whole, is_own=is_own)
        except InvalidMessageError as error:
            self._abort_as_provider(str(error))
            return
        if not self._assembler.is_message_open:
            self._watch.stop()

    def release_indication(self) -> None:
        """Answer once the requests that came before are served."""
        self._release_asked = True
        if not self._serving.is_busy:
            self._release()

    def release_confirmation(self) -> None:
        """Take note that the association has ended well."""
        self._end(None)

    def writing_paused(self) -> None:
        """Let `drain` wait."""
        self._may_write.clear()

    def writing_resumed(self) -> None:
        """Let `drain` return."""
        self._may_write.set()

    def ended(self, ending: Ending) -> None:
        """Forget what is half received or waits; the request under way is still served, without an answer."""
        log.info("association.aborted", association=self.association_id, why=ending.description)
        self._end(ending)

    def _end(self, ending: Ending | None) -> None:
        self._watch.close()
        self._may_write.set()
        if self._assembler.sink is not None:
            self._assembler.sink.abort()
            self._assembler.sink = None
        self._serving.abandon()
        why = ending.description if ending is not None else "the association was released"
        is_timeout = ending is not None and ending.is_timeout
        self.exchanges.fail(AssociationTimeoutError(why) if is_timeout else AssociationAbortedError(why))
        self._is_closed = True
        self._finish_if_idle()

    def _finish_if_idle(self) -> None:
        if self._is_closed and not self._serving.is_busy and not self.finished.done():
            self.finished.set_result(None)

    def _release(self) -> None:
        log.info("association.released", association=self.association_id)
        self.connection.respond_to_release()
        self._end(None)

    def _abort_as_provider(self, why: str) -> None:
        self.connection.abort(why, AbortSource.SERVICE_PROVIDER, AbortReason.INVALID_PARAMETER_VALUE)

    def _check_progress(self) -> None:
        least = self._settings.minimum_receive_bytes_per_second * self._settings.dimse_seconds
        came = self._received_bytes - self._watched_bytes
        if came < least and not self.connection.is_reading_held:
            self.connection.abort("a message did not come on in time", is_timeout=True)
            return
        self._watched_bytes = self._received_bytes
        self._watch.start(self._settings.dimse_seconds)

    def command_received(self, context_id: int, command: Command) -> DataSink | None:
        """Sort a command: a response of the peer's, a cancellation, or a request."""
        if command.is_response:
            return self.exchanges.take_response(command)
        if command.field == CommandField.C_CANCEL_RQ:
            return None  # no operation that could be cancelled is under way (PS3.7 9.3.2.3.2)
        _ = command.message_id  # a request that cannot be answered ends the association
        request = Request(self, self.terms.contexts[context_id], command)
        if not command.has_data_set:
            self._serving.put(request)
            return None
        self._open_request = request
        request.sink = self._server.open_sink(request) if self._server is not None else MemorySink(0)
        return request.sink

    def data_set_received(self) -> None:
        """Serve the request, or hand over the response, whose data set is complete."""
        self._buffered_sink = None  # what follows in its memory is another message's
        if self._open_request is not None:
            request, self._open_request = self._open_request, None
            self._serving.put(request)
        else:
            self.exchanges.take_data_set()

    @property
    def is_serving(self) -> bool:
        """Whether a request is under way, or half received."""
        return self._serving.is_busy or self._assembler.is_message_open

    @property
    def idle_seconds(self) -> float:
        """How long ago the last request was answered."""
        return asyncio.get_running_loop().time() - self._last_request_at

    def _served(self) -> None:
        self._last_request_at = asyncio.get_running_loop().time()
        if self._release_asked and not self._is_closed:
            self._release()
        self._finish_if_idle()

    def send(self, context_id: int, command: bytes) -> None:
        """Send a command set that no data set follows."""
        pdus = p_data_pdus(context_id, command, is_command=True, max_pdu_bytes=self.terms.send_pdu_bytes)
        self.connection.send_p_data(b"".join(pdus))

    async def drain(self) -> None:
        """Wait until the peer has taken enough of what was sent to send more, or the association has ended.

        Raises
        ------
        AssociationTimeoutError
            The peer took nothing within the DIMSE time.
        """
        unsent_bytes = self.connection.unsent_bytes
        while not self._may_write.is_set():
            try:
                async with asyncio.timeout(self._settings.dimse_seconds):
                    await self._may_write.wait()
            except TimeoutError:
                if self.connection.unsent_bytes >= unsent_bytes:
                    raise AssociationTimeoutError("the peer takes no data") from None
                unsent_bytes = self.connection.unsent_bytes
