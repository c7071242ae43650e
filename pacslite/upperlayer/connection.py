"""One transport connection: the bytes that an association's state machine lives by."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final

import structlog

from pacslite.upperlayer.machine import Machine, UpperLayerTimers
from pacslite.upperlayer.pdu import AbortSource, InvalidPduError, PduReader, PduType
from pacslite.upperlayer.ports import Ending, Negotiator
from pacslite.upperlayer.states import Event, State

log = structlog.get_logger(__name__)

SHARED_BUFFER_BYTES: Final = 256 * 1024
HANG_UP_SECONDS: Final = 1.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_TCP_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)


class ReceiveBuffers:
    """The one buffer that all idle connections of an event loop read into."""

    def __init__(self) -> None:
        self.shared = memoryview(bytearray(SHARED_BUFFER_BYTES))


class Connection(Machine, asyncio.BufferedProtocol):
    """A transport connection, the PDUs on it, and the standard's state machine.

    Parameters
    ----------
    negotiator
        Decides until the association is established.
    timers
        How long to wait.
    buffers
        Of the event loop that the connection lives in.
    max_pdu_bytes
        Longest variable field of a P-DATA-TF PDU that we announce.
    is_requestor
        Whether we open the connection.

    Notes
    -----
    Lives in the event loop's thread. No input makes a method raise.
    """

    def __init__(
        self,
        negotiator: Negotiator,
        timers: UpperLayerTimers,
        buffers: ReceiveBuffers,
        *,
        max_pdu_bytes: int,
        is_requestor: bool,
    ) -> None:
        super().__init__(negotiator, timers, is_requestor=is_requestor)
        self.peer_address = ""
        self.local_address = ""
        self.peer_host = ""
        self._loop = asyncio.get_running_loop()
        self._buffers = buffers
        self._reader = PduReader(self, max_pdu_bytes)
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._own_buffer: memoryview | None = None
        self._backlog = memoryview(b"")
        self._holds: set[str] = set()
        self._is_readable = True
        self._is_read_under_way = False
        self._is_deaf = False
        self._on_lost: list[Callable[[], None]] = []
        self._lost = asyncio.Event()

    def close(self) -> None:
        """Close the transport once what was written is sent, without waiting for the peer to do so."""
        self._close()

    def drop(self) -> None:
        """Close the transport at once, without a word."""
        self._ending = Ending("closed by us")
        if self._transport is not None:
            if self._socket is not None and self.unsent_bytes:
                # else the kernel would keep trying to deliver to a peer that does not read
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()

    async def hang_up(self) -> None:
        """Close the transport and return once it is closed; what the peer does not take in time is lost."""
        self.close()
        try:
            async with asyncio.timeout(HANG_UP_SECONDS):
                await self._lost.wait()
        except TimeoutError:
            self.drop()
            await self._lost.wait()
        except asyncio.CancelledError:
            self.drop()
            raise

    def hold_reading(self, why: str) -> None:
        """Read no more from the peer until `why` and all other holds are let go."""
        self._holds.add(why)
        self._apply_holds()

    def let_reading(self, why: str) -> None:
        """Take back `hold_reading(why)`."""
        if why in self._holds:
            self._holds.discard(why)
            self._apply_holds()

    def hold_pdus(self) -> None:
        """Take no further PDU, not even of what has been read, until `let_pdus`."""
        self._reader.is_held = True
        self.hold_reading("pdus")

    def let_pdus(self) -> None:
        """Take back `hold_pdus`."""
        self._reader.is_held = False
        self.let_reading("pdus")
        if self._backlog:
            self._loop.call_soon(self._feed_backlog)

    def call_when_lost(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the transport is closed."""
        self._on_lost.append(callback)

    @property
    def unsent_bytes(self) -> int:
        """What the transport still holds for the peer."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    @property
    def is_reading_held(self) -> bool:
        """Whether it is us who do not read."""
        return bool(self._holds)

    def _apply_holds(self) -> None:
        # libuv crashes when it is told to stop reading in between asking for memory and the read itself
        if self._is_read_under_way:
            self._loop.call_soon(self._apply_holds)
            return
        should_read = not self._holds
        if self._transport is None or self._transport.is_closing() or should_read == self._is_readable:
            return
        self._is_readable = should_read
        if should_read:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _write(self, data: bytes | memoryview) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _close_transport(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _abort_transport(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102 - asyncio's
        self._transport = transport  # type: ignore[assignment] # a stream transport, by how it was made
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if peer is None:  # gone between accept and here
            self._transport.abort()  # type: ignore[union-attr] # just set
            return
        self.peer_host = peer[0]
        self.peer_address = _host_and_port(peer)
        self.local_address = _host_and_port(local)
        self._take_socket(transport)
        self._fire(Event.EVT2_TRANSPORT_CONFIRMED if self._is_requestor else Event.EVT5_TRANSPORT_INDICATION)

    def _take_socket(self, transport: asyncio.BaseTransport) -> None:
        transport_socket = transport.get_extra_info("socket")
        self._socket = socket.socket(
            transport_socket.family, socket.SOCK_STREAM, transport_socket.proto, transport_socket.fileno()
        )
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._acknowledge_at_once()

    def _acknowledge_at_once(self) -> None:
        # A sender under Nagle's algorithm holds its next small write until our kernel acknowledges the
        # last one; the kernel forgets the option, so it is set after each read.
        if self._socket is not None and _TCP_QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_QUICKACK, 1)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102 - asyncio's
        if self._socket is not None:
            self._socket.detach()  # the descriptor is the transport's
            self._socket = None
        if not self._ending.description:
            self._ending = Ending("the connection was lost" if exc is None else f"connection lost: {exc}")
        self._fire(Event.EVT17_TRANSPORT_CLOSED)
        self._artim.close()
        self._idle.close()
        for callback in self._on_lost:
            callback()
        self._on_lost.clear()
        self._lost.set()
        self._own_buffer = None
        self._backlog = memoryview(b"")

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002, D102 - asyncio's
        self._is_read_under_way = True
        self._own_buffer = self.user.receive_buffer() if self.user is not None else None
        self._is_read_under_way = False
        return self._buffers.shared if self._own_buffer is None else self._own_buffer

    def buffer_updated(self, nbytes: int) -> None:  # noqa: D102 - asyncio's
        self._acknowledge_at_once()
        if self._holds:  # asked for with this read's memory
            self._apply_holds()
        if self._is_deaf:  # the stream cannot be followed any further
            return
        own = self._own_buffer
        if own is not None and self.user is not None:
            self.user.buffer_filled(nbytes)
        if self.state is State.STA6_ESTABLISHED:
            self._idle.start(self._idle_seconds)
        self._feed((self._buffers.shared if own is None else own)[:nbytes])

    def eof_received(self) -> bool | None:  # noqa: D102 - asyncio's
        return None

    def pause_writing(self) -> None:  # noqa: D102 - asyncio's
        if self.user is not None:
            self.user.writing_paused()

    def resume_writing(self) -> None:  # noqa: D102 - asyncio's
        if self.user is not None:
            self.user.writing_resumed()

    def _feed(self, data: memoryview) -> None:
        try:
            taken = self._reader.feed(data)
        except InvalidPduError as error:
            self._refuse(error)
            return
        if taken < len(data):
            self._own_buffer = None
            rest = data[taken:]
            # memory that was read into will be read into again
            self._backlog = rest if rest.readonly else memoryview(bytes(rest))
            self.hold_reading("backlog")
            if not self._reader.is_held:
                self._loop.call_soon(self._feed_backlog)

    def _feed_backlog(self) -> None:
        if self._reader.is_held:  # `let_pdus` comes back here
            return
        data, self._backlog = self._backlog, memoryview(b"")
        self._own_buffer = None
        if data:
            self._feed(data)
        if not self._backlog:
            self.let_reading("backlog")

    def _refuse(self, error: InvalidPduError) -> None:
        log.info("connection.pdu_refused", peer=self.peer_address, why=str(error))
        in_sta2 = self.state is State.STA2_AWAITING_ASSOCIATE_RQ
        # A-ABORT as user for what is no A-ASSOCIATE-RQ, as AA-1 says; one over our limit is told so.
        is_user = in_sta2 and not error.is_over_limit
        source = AbortSource.SERVICE_USER if is_user else AbortSource.SERVICE_PROVIDER
        self._ending = Ending(str(error), source, 0 if is_user else error.reason)
        self._fire(Event.EVT19_INVALID_PDU_RECEIVED)
        self._is_deaf = True

    def p_data_started(self) -> None:
        """Take note of a P-DATA-TF PDU: the state machine sees it before its data is read."""
        if self.state is State.STA6_ESTABLISHED:
            return
        self._expect(Event.EVT10_P_DATA_TF_RECEIVED)

    def fragment_received(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
        """Pass a piece of a PDV to the user of the association."""
        if self.user is not None:
            self.user.fragment_received(
                context_id, control, piece, is_whole=is_whole, is_own=self._own_buffer is not None
            )

    def pdu_received(self, pdu_type: PduType, pdu: bytes) -> None:
        """Take any other PDU as the event that it is."""
        self._take_pdu(pdu_type, pdu)


def _host_and_port(address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
