"""The listening sockets."""

import asyncio
import socket
from typing import Final

import structlog

from pacslite.model.errors import ConfigurationError
from pacslite.settings.schema import AssociationSettings, Listener
from pacslite.upperlayer.acceptor import Acceptor, Reception
from pacslite.upperlayer.connection import Connection, ReceiveBuffers
from pacslite.upperlayer.machine import UpperLayerTimers

log = structlog.get_logger(__name__)

BACKLOG: Final = 1024


class Listeners:
    """Accepts connections on several addresses and gives each an acceptor.

    Parameters
    ----------
    reception
        Shared by all acceptors.
    settings
        Timers and the maximum PDU.
    """

    def __init__(self, reception: Reception, settings: AssociationSettings) -> None:
        self._reception = reception
        self._settings = settings
        self._buffers = ReceiveBuffers()
        self._servers: list[asyncio.Server] = []

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each listening socket."""
        return [bound.getsockname()[:2] for server in self._servers for bound in server.sockets]

    async def open(self, listeners: list[Listener]) -> None:
        """Listen on every address, or on none.

        Raises
        ------
        ConfigurationError
            An address cannot be bound; the text names it.
        """
        loop = asyncio.get_running_loop()
        for listener in listeners:
            try:
                server = await loop.create_server(
                    self._make_connection, listener.host, listener.port, backlog=BACKLOG, reuse_address=True
                )
            except OSError as error:
                await self.close()
                raise ConfigurationError(
                    f"cannot listen on {listener.host} port {listener.port}: {_explain(error)}"
                ) from error
            self._servers.append(server)

    async def close(self) -> None:
        """Listen no more; the connections there are stay."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        await asyncio.sleep(0)

    def _make_connection(self) -> Connection:
        entity = self._reception.entity
        acceptor = Acceptor(self._reception)
        acceptor.connection = Connection(
            acceptor,
            UpperLayerTimers(self._settings.artim_seconds, self._settings.idle_seconds),
            self._buffers,
            max_pdu_bytes=entity.max_pdu_bytes,
            is_requestor=False,
        )
        return acceptor.connection


def _explain(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "permission denied (ports below 1024 need a capability: see docs/operations.md)"
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    return error.strerror or str(error)
