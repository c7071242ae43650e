"""Who may associate, and how many (PS3.8 9.3.4)."""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from pacslite.settings.schema import PeerSettings, Settings
from pacslite.upperlayer.connection import Connection

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ to be (PS3.8 Table 9-21)."""

    why: str
    result: int
    source: int
    reason: int


APPLICATION_CONTEXT_NOT_SUPPORTED: Final = Rejection("application context not supported", 1, 1, 2)
CALLING_AE_NOT_RECOGNIZED: Final = Rejection("calling AE title not recognized", 1, 1, 3)
PROTOCOL_VERSION_NOT_SUPPORTED: Final = Rejection("protocol version not supported", 1, 2, 2)
CALLED_AE_NOT_RECOGNIZED: Final = Rejection("called AE title not recognized", 1, 1, 7)
TEMPORARY_CONGESTION: Final = Rejection("the node is shutting down", 2, 3, 1)
LOCAL_LIMIT_EXCEEDED: Final = Rejection("too many associations", 2, 3, 2)


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """Which AE titles, called from where, are let in.

    Parameters
    ----------
    known
        Networks that each known calling AE title may call from.
    called_ae_titles
        The AE titles that lead to an archive.
    """

    known: dict[str, tuple[_Network, ...]]
    called_ae_titles: frozenset[str]
    accepts_unknown_peers: bool
    accepts_any_called_ae: bool
    ignores_case: bool

    @classmethod
    def from_settings(cls, settings: Settings) -> "AdmissionRules":
        """Resolve the peers' host names and return the rules; may wait for a name server."""
        rules = cls(
            known={},
            called_ae_titles=frozenset(),
            accepts_unknown_peers=settings.accepts_unknown_peers,
            accepts_any_called_ae=settings.accepts_any_called_ae,
            ignores_case=settings.admission.ignore_ae_title_case,
        )
        known: dict[str, tuple[_Network, ...]] = {}
        for peer in settings.peers:
            title = rules.fold(peer.ae_title)
            known[title] = known.get(title, ()) + tuple(_networks(peer))
        called = (rules.fold(title) for archive in settings.archives for title in archive.titles(settings))
        return replace(rules, known=known, called_ae_titles=frozenset(called))

    def fold(self, ae_title: str) -> str:
        """Return what `ae_title` is compared by."""
        return ae_title.upper() if self.ignores_case else ae_title

    def check(self, *, calling_ae_title: str, called_ae_title: str, peer_host: str) -> Rejection | None:
        """Return why the association is rejected, or None.

        AE titles are compared without leading and trailing spaces (PS3.5 6.2), and with their case unless
        the settings say otherwise. An empty calling AE title stands for one that is none: nobody has it.
        """
        if not self.accepts_any_called_ae and self.fold(called_ae_title) not in self.called_ae_titles:
            return CALLED_AE_NOT_RECOGNIZED
        if self.accepts_unknown_peers and calling_ae_title:
            return None
        address = ipaddress.ip_address(peer_host.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if any(address in network for network in self.known.get(self.fold(calling_ae_title), ())):
            return None
        return CALLING_AE_NOT_RECOGNIZED


def _networks(peer: PeerSettings) -> Iterable[_Network]:
    for block in peer.addresses:
        yield ipaddress.ip_network(block, strict=False)
    try:
        found = socket.getaddrinfo(peer.host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return  # a peer whose name is not known now cannot call; its listed addresses still may
    for address in {str(entry[4][0]).partition("%")[0] for entry in found}:
        yield ipaddress.ip_network(address)


class Occupancy:
    """How many connections there are, negotiated or not; the two have limits of their own.

    Parameters
    ----------
    max_half_open
        Connections that have not negotiated. One more evicts the oldest, which an honest peer is the least
        likely to be.
    """

    def __init__(self, *, max_associations: int, max_half_open: int) -> None:
        self._max_associations = max_associations
        self._max_half_open = max_half_open
        self._half_open: dict[Connection, None] = {}
        self._established: dict[Connection, None] = {}
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    @property
    def connections(self) -> list[Connection]:
        """All of them."""
        return [*self._half_open, *self._established]

    @property
    def association_count(self) -> int:
        """How many are established."""
        return len(self._established)

    @property
    def is_full(self) -> bool:
        """Whether one more association would be over the limit."""
        return len(self._established) >= self._max_associations

    def enter(self, connection: Connection) -> None:
        """Count a new connection, until it is lost."""
        if len(self._half_open) >= self._max_half_open:
            oldest = next(iter(self._half_open))
            del self._half_open[oldest]
            oldest.drop()
        self._half_open[connection] = None
        self._is_empty.clear()
        connection.call_when_lost(lambda: self._leave(connection))

    def establish(self, connection: Connection) -> None:
        """Count the connection as an association from now on."""
        self._half_open.pop(connection, None)
        self._established[connection] = None

    def _leave(self, connection: Connection) -> None:
        self._half_open.pop(connection, None)
        self._established.pop(connection, None)
        if not self._half_open and not self._established:
            self._is_empty.set()

    async def wait_until_empty(self, seconds: float) -> bool:
        """Wait until all connections are lost; False when that takes longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._is_empty.wait()
        except TimeoutError:
            return False
        return True
