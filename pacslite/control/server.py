"""The node's side of the control socket: carries out what a keeper asks, beside the node's own work."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import structlog

from pacslite.archive.archive import Archive
from pacslite.archive.operation import Operation
from pacslite.archive.operations import operation_of
from pacslite.control.addresses import socket_address
from pacslite.control.conversation import Conversation
from pacslite.control.messages import MAX_REQUEST_BYTES, Request, encode, error_message, socket_path
from pacslite.model.errors import ConfigurationError, OperationError, OperationStoppedError, PacsliteError

_SOCKET_MODE: Final = 0o600
_BACKLOG: Final = 16
MAX_CONVERSATIONS: Final = 16

log = structlog.get_logger(__name__)


class ControlServer:
    """Listens on the control socket of a data folder whose lock this process holds.

    Operations that change an archive run one at a time, the others beside them, all in threads. Lives in one
    event loop, from `start` to `stop`.

    Parameters
    ----------
    data_folder
        Holds the socket.
    archives
        By name, the first one is the default; started before the server and stopped after it.
    """

    def __init__(self, data_folder: Path, archives: Mapping[str, Archive]) -> None:
        self._data_folder = data_folder
        self._archives = archives
        self._turns = {name: asyncio.Lock() for name in archives}
        self._conversations: dict[asyncio.Task[None], Conversation] = {}
        self._is_stopping = False
        self._server: asyncio.Server | None = None
        self._executor = ThreadPoolExecutor(MAX_CONVERSATIONS, thread_name_prefix="pacslite-keeper")

    async def start(self) -> None:
        """Listen; a system or folder that has no sockets costs a warning, not the node."""
        try:
            bound = await asyncio.to_thread(_bind, self._data_folder)
        except OSError as error:
            log.warning("control.unavailable", why=error.strerror or str(error))
            return
        self._server = await asyncio.start_unix_server(
            self._converse, sock=bound, limit=MAX_REQUEST_BYTES, backlog=_BACKLOG
        )

    async def drain(self) -> None:
        """Begin nothing new and return once what is under way has ended."""
        self._is_stopping = True
        for conversation in self._conversations.values():
            conversation.hang_up_unless_asked()
        while self._conversations:
            await asyncio.wait(self._conversations)

    async def stop(self) -> None:
        """End operations at their next safe point, then the socket."""
        self._is_stopping = True
        for conversation in self._conversations.values():
            conversation.stop()
        if self._server is not None:
            self._server.close()
            await asyncio.to_thread(_remove, self._data_folder)
        await self.drain()
        self._executor.shutdown()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("asyncio calls this in a task")
        conversation = Conversation(reader, writer)
        self._conversations[task] = conversation
        try:
            await conversation.say(await self._answer(conversation))
        except (OSError, TimeoutError):
            log.debug("control.abandoned")
        finally:
            conversation.close()
            del self._conversations[task]

    async def _answer(self, conversation: Conversation) -> bytes:
        try:
            if self._is_stopping:
                raise OperationStoppedError("the node is shutting down")
            if len(self._conversations) > MAX_CONVERSATIONS:
                raise OperationError("the node is busy with other commands; try again")
            return await self._carry_out(conversation, await conversation.request())
        except PacsliteError as error:
            return encode(error_message(error))

    async def _carry_out(self, conversation: Conversation, request: Request) -> bytes:
        operation = operation_of(request.operation)
        archive = self._archive(request.archive)
        arguments = operation.parse(request.arguments)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(conversation.attended(is_abandonable=operation.is_abandonable))
            if not operation.is_reading:
                await stack.enter_async_context(self._turn(archive.name, conversation))
            work = asyncio.get_running_loop().run_in_executor(
                self._executor, _run, request.operation, operation, archive, arguments, conversation
            )
            return await work

    @contextlib.asynccontextmanager
    async def _turn(self, archive_name: str, conversation: Conversation) -> AsyncIterator[None]:
        """Wait until no other operation changes the archive, or nobody waits for this one any longer."""
        turn = self._turns[archive_name]
        if turn.locked():
            conversation.progress(0, None, "waiting for another command")
        await conversation.unless_ended(turn.acquire())
        try:
            yield
        finally:
            turn.release()

    def _archive(self, name: str | None) -> Archive:
        if name is None:
            return next(iter(self._archives.values()))
        if name not in self._archives:
            raise ConfigurationError(f"there is no archive {name!r}")
        return self._archives[name]


def _run(
    name: str, operation: Operation[Any], archive: Archive, arguments: Any, conversation: Conversation
) -> bytes:
    """Carry out an operation in this thread and return the line that tells its end."""
    started = time.monotonic()
    told = log.bind(operation=name, archive=archive.name)
    try:
        line = encode({"result": operation.run(archive, arguments, conversation.progress)})
    except PacsliteError as error:
        told.info("operation.refused", why=type(error).__name__)
        return encode(error_message(error))
    except Exception as error:  # noqa: BLE001 - one operation's bug must not end the node
        told.exception("operation.failed")
        text = f"the node met an unexpected {type(error).__name__}; its log has more"
        return encode(error_message(OperationError(text)))
    told.info("operation.done", seconds=round(time.monotonic() - started, 3))
    return line


def _bind(data_folder: Path) -> socket.socket:
    """Return the listening socket, in place of one that a killed node left behind."""
    path = socket_path(data_folder)
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_address(data_folder) as address:
            bound.bind(address)
        path.chmod(_SOCKET_MODE)  # before it listens: until then nobody can connect
        bound.listen(_BACKLOG)
        bound.setblocking(False)  # noqa: FBT003 - the system's own signature
    except BaseException:
        bound.close()
        raise
    return bound


def _remove(data_folder: Path) -> None:
    """Remove the socket; one that stays answers nobody and is replaced at the next start."""
    try:
        socket_path(data_folder).unlink(missing_ok=True)
    except OSError as error:
        log.warning("control.socket_left", why=error.strerror)
