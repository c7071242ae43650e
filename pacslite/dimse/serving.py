"""The peer's requests: served one after the other, each answered before the next."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from pacslite.dimse.commands import Command, encode_response
from pacslite.dimse.sinks import DataSink
from pacslite.model.errors import AssociationTimeoutError, RefusedError
from pacslite.model.statuses import Status, StatusReport
from pacslite.upperlayer.negotiation import AcceptedContext

if TYPE_CHECKING:
    from pacslite.dimse.session import Session

log = structlog.get_logger(__name__)

MAX_WAITING_REQUESTS: Final = 4
"""A peer may have one request outstanding (PS3.7 D.3.3.3); one that pipelines is read this far ahead."""


@dataclass(slots=True)
class Request:
    """A request of the peer's, and what its service needs to serve it."""

    session: "Session"
    context: AcceptedContext
    command: Command
    sink: DataSink | None = None


class Server(Protocol):
    """Serves requests; see `dispatch.Dispatcher`."""

    def open_sink(self, request: Request) -> DataSink:
        """Return where the request's data set goes."""

    async def serve(self, request: Request) -> StatusReport:
        """Do what the request asks and return the final status."""


class Serving:
    """The queue of one association's requests and the task that serves them.

    Parameters
    ----------
    session
        Of the association; answers go out through it.
    server
        Serves; None refuses every request.
    idle
        Called each time no request is left.
    """

    def __init__(self, session: "Session", server: Server | None, idle: Callable[[], None]) -> None:
        self._session = session
        self._server = server
        self._idle = idle
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way."""
        return self._task is not None

    def put(self, request: Request) -> None:
        """Serve `request` after those before it; a peer that sends too many ahead is read from no further."""
        self._waiting.append(request)
        if len(self._waiting) >= MAX_WAITING_REQUESTS:
            self._session.connection.hold_pdus()
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    def abandon(self) -> None:
        """Forget the requests that wait; the one under way is served, since it may be past recall."""
        while self._waiting:
            request = self._waiting.popleft()
            if request.sink is not None:
                request.sink.abort()
        self._session.connection.let_pdus()  # else the peer's close would go unnoticed

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._serve_next()
        except AssociationTimeoutError as error:
            self._session.connection.abort(str(error), is_timeout=True)
        finally:
            self._task = None
            self._idle()

    async def _serve_next(self) -> None:
        request = self._waiting.popleft()
        if len(self._waiting) < MAX_WAITING_REQUESTS:
            self._session.connection.let_pdus()
        report = await self._serve(request)
        self._session.send(request.context.context_id, encode_response(request.command, report))
        await self._session.drain()  # a peer that does not read its answers is not read from either
        if self._waiting:
            await asyncio.sleep(0)  # one that pipelines gets its share of the event loop, not all of it

    async def _serve(self, request: Request) -> StatusReport:
        association = self._session.association_id
        try:
            if self._server is None:
                return StatusReport(Status.FAILURE_0211_UNRECOGNIZED_OPERATION)
            return await self._server.serve(request)
        except RefusedError as error:
            code = f"{error.status.code:04X}"
            log.info("request.refused", association=association, status=code, why=error.comment)
            return error.report
        except Exception:
            # the one place where a bug of ours becomes a status instead of the end of the node
            log.exception("request.failed", association=association)
            return StatusReport(Status.FAILURE_0110_PROCESSING_FAILURE, "internal error")
