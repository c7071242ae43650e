"""An association that we ask for, from its A-ASSOCIATE-RQ to its release (PS3.8 7)."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

from pacslite.client.responses import Response
from pacslite.dimse.commands import (
    RESPONSE,
    Command,
    CommandField,
    InvalidCommandError,
    encode_echo_request,
    encode_store_request,
)
from pacslite.dimse.fragmentation import data_set_blocks
from pacslite.dimse.session import Session
from pacslite.model.errors import (
    AssociationAbortedError,
    AssociationError,
    AssociationTimeoutError,
    ContextNotAcceptedError,
)
from pacslite.model.instances import InstanceKey
from pacslite.model.uids import VERIFICATION_SOP_CLASS_UID
from pacslite.settings.schema import AssociationSettings, PeerSettings
from pacslite.upperlayer.negotiation import AcceptedContext, AssociateProposal, ProposedContext
from pacslite.upperlayer.pdu import p_data_pdus
from pacslite.upperlayer.requestor import request_association

MAX_CONTEXTS: Final = 128
"""Presentation contexts in one association: odd ids from 1 to 255 (PS3.8 9.3.2.2)."""


class DataSource(Protocol):
    """A data set to send."""

    @property
    def data_set_bytes(self) -> int:
        """Its size."""

    def fill(self, pieces: Sequence[memoryview], position: int) -> None:
        """Fill `pieces` with what stands from `position` on; called in a thread.

        Raises
        ------
        OSError
            It cannot be read.
        """

    def sent(self, byte_count: int) -> None:
        """Take note that so many more bytes are on their way."""


class Association:
    """An established association; made by `open_association`.

    Parameters
    ----------
    session
        Its messages.
    peer
        For the texts of errors.
    settings
        The DIMSE timer.
    """

    def __init__(self, session: Session, peer: PeerSettings, settings: AssociationSettings) -> None:
        self._session = session
        self._peer = peer
        self._dimse_seconds = settings.dimse_seconds
        self._turn = asyncio.Lock()

    @property
    def accepted_contexts(self) -> list[AcceptedContext]:
        """The presentation contexts on which we may ask."""
        return [context for context in self._session.terms.contexts.values() if context.as_scu]

    @property
    def is_open(self) -> bool:
        """Whether anything can still be asked."""
        return not self._session.finished.done()

    async def echo(self) -> Response:
        """Ask whether the peer is there (PS3.7 9.1.5).

        Raises
        ------
        ContextNotAcceptedError
            The peer does not verify.
        AssociationTimeoutError
            No answer within `dimse_seconds`; the association is aborted.
        AssociationAbortedError
            The association ended first.
        """
        context = self._context(VERIFICATION_SOP_CLASS_UID)
        async with self._turn:
            return await self._ask(context, CommandField.C_ECHO_RQ, encode_echo_request)

    async def store(self, key: InstanceKey, source: DataSource) -> Response:
        """Send an instance, as it is, on the context of its SOP class and transfer syntax (PS3.7 9.1.1).

        Parameters
        ----------
        key
            What the instance is.
        source
            Its data set; read in blocks of about 1 MiB, at the pace of the peer.

        Raises
        ------
        ContextNotAcceptedError
            The peer did not accept such a context; the association goes on.
        OSError
            The source could not be read; if that was within the message, the association is aborted.
        AssociationTimeoutError
            For `dimse_seconds` the peer took nothing, or did not answer; the association is aborted.
        AssociationAbortedError
            The association ended first.
        """
        context = self._context(key.sop_class_uid, key.transfer_syntax_uid)

        def encode(message_id: int) -> bytes:
            return encode_store_request(message_id, key)

        async with self._turn:
            return await self._ask(context, CommandField.C_STORE_RQ, encode, source)

    def abort(self, why: str) -> None:
        """Send an A-ABORT."""
        self._session.connection.abort(why)

    async def release(self) -> None:
        """Release the association; a peer that does not answer in time, or otherwise, is not insisted on."""
        self._session.connection.request_release()
        await self._session.finished

    async def hang_up(self) -> None:
        """Close the connection."""
        await self._session.connection.hang_up()

    def _context(self, abstract_syntax: str, transfer_syntax: str | None = None) -> AcceptedContext:
        for context in self.accepted_contexts:
            if context.abstract_syntax == abstract_syntax and (
                transfer_syntax is None or context.transfer_syntax == transfer_syntax
            ):
                return context
        raise ContextNotAcceptedError(
            f"{self._peer} does not accept {_describe(abstract_syntax, transfer_syntax)}"
        )

    async def _ask(
        self,
        context: AcceptedContext,
        field: CommandField,
        encode: Callable[[int], bytes],
        source: DataSource | None = None,
    ) -> Response:
        message_id = self._session.exchanges.next_message_id()
        response = self._session.exchanges.expect(message_id)
        try:
            if source is None:
                self._session.send(context.context_id, encode(message_id))
            else:
                await self._send(context, encode(message_id), source, response)
            return _read(await self._answer(response), field)
        except InvalidCommandError as error:
            self.abort(str(error))
            raise AssociationAbortedError(f"{self._peer}: {error}") from error
        except AssociationError as error:
            self.abort(str(error))
            raise type(error)(f"{self._peer}: {error}") from error
        finally:
            self._session.exchanges.forget(message_id)
            _discard(response)

    async def _send(
        self,
        context: AcceptedContext,
        command: bytes,
        source: DataSource,
        response: asyncio.Future[tuple[Command, bytes]],
    ) -> None:
        loop = asyncio.get_running_loop()
        limit = self._session.terms.send_pdu_bytes
        pdus = b"".join(p_data_pdus(context.context_id, command, is_command=True, max_pdu_bytes=limit))
        position = 0
        for block in data_set_blocks(context.context_id, source.data_set_bytes, limit, command_pdus=pdus):
            try:
                await loop.run_in_executor(None, source.fill, block.pieces, position)
            except OSError:
                if position:
                    self.abort("the data set could not be read to its end")
                raise
            if response.done() and response.exception() is not None:
                return
            self._session.connection.send_p_data(block.memory)
            await self._session.drain()
            sent_bytes = sum(map(len, block.pieces))
            position += sent_bytes
            source.sent(sent_bytes)

    async def _answer(self, response: asyncio.Future[tuple[Command, bytes]]) -> Command:
        try:
            async with asyncio.timeout(self._dimse_seconds):
                command, _ = await response
        except TimeoutError:
            raise AssociationTimeoutError(f"no response within {self._dimse_seconds:g} s") from None
        return command


@asynccontextmanager
async def open_association(
    peer: PeerSettings,
    contexts: Sequence[ProposedContext],
    *,
    calling_ae_title: str,
    settings: AssociationSettings,
) -> AsyncIterator[Association]:
    """Ask `peer` for an association; release it at the end of the block, abort it on an exception.

    Parameters
    ----------
    contexts
        1 to 128; one transfer syntax each, if it matters which is taken (PS3.8 9.3.2.2).
    settings
        `connect_seconds`, `artim_seconds`, `dimse_seconds`, `idle_seconds` and `max_pdu_bytes` hold.

    Raises
    ------
    ValueError
        More contexts than an association can have, or none.
    AssociationRejectedError
        The peer answered A-ASSOCIATE-RJ.
    AssociationTimeoutError
        The peer could not be reached, or did not answer, in time.
    AssociationAbortedError
        The peer aborted, hung up, or answered what cannot be read.
    AssociationError
        There is no connection to be had.
    """
    if not 1 <= len(contexts) <= MAX_CONTEXTS:
        raise ValueError(f"an association has 1 to {MAX_CONTEXTS} presentation contexts, not {len(contexts)}")
    proposal = AssociateProposal(
        calling_ae_title=calling_ae_title,
        called_ae_title=peer.ae_title,
        contexts=contexts,
        max_pdu_bytes=settings.max_pdu_bytes,
    )
    session = await request_association(
        peer,
        proposal,
        settings,
        lambda connection, terms: Session(connection, terms, secrets.token_hex(6), settings, None),
    )
    association = Association(session, peer, settings)
    try:
        yield association
        await association.release()
    except BaseException:
        association.abort("given up")
        raise
    finally:
        await association.hang_up()


def _read(command: Command, request_field: CommandField) -> Response:
    if command.field != request_field | RESPONSE:
        raise InvalidCommandError(f"{command.field:04X}H is no response to {request_field.name}")
    return Response(command.status, command.error_comment)


def _discard(response: asyncio.Future[tuple[Command, bytes]]) -> None:
    if not response.cancel() and not response.cancelled():
        response.exception()  # looked at, so that asyncio does not complain that nobody did


def _describe(abstract_syntax: str, transfer_syntax: str | None) -> str:
    if transfer_syntax is None:
        return abstract_syntax
    return f"{abstract_syntax} in transfer syntax {transfer_syntax}"
