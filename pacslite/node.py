"""The node: who is given what, and the order in which it starts and stops."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from pacslite.archive.archive import Archive
from pacslite.archive.handlers import handlers_of
from pacslite.archive.ingest import InstanceKept
from pacslite.archive.jobs import JobRunner
from pacslite.control.server import ControlServer
from pacslite.dimse.dispatch import Dispatcher
from pacslite.dimse.session import Session
from pacslite.model.uids import VERIFICATION_SOP_CLASS_UID
from pacslite.services.archives import Archives
from pacslite.services.storage import StorageService
from pacslite.services.verification import VerificationService
from pacslite.settings.schema import Settings
from pacslite.storage.filesystem import check_filesystem
from pacslite.storage.lock import DataFolderLock
from pacslite.upperlayer.acceptor import Reception
from pacslite.upperlayer.admission import AdmissionRules, Occupancy
from pacslite.upperlayer.connection import Connection
from pacslite.upperlayer.entity import ApplicationEntity
from pacslite.upperlayer.listener import Listeners
from pacslite.upperlayer.negotiation import Terms
from pacslite.upperlayer.offers import AcceptorRules

if TYPE_CHECKING:
    from pynetdicom import AE

log = structlog.get_logger(__name__)

DRAIN_POLL_SECONDS: Final = 0.05
CLOSE_SECONDS: Final = 1.0
IDLE_AT_DRAIN_SECONDS: Final = 1.0
"""An association without a request for so long is not waited for when the node drains."""


class Node:
    """A DICOM network node: archives behind an application entity.

    Parameters
    ----------
    settings
        All of them.
    ae
        A ready pynetdicom AE whose title, contexts, limits, timeouts and required AE titles are honoured in
        place of those of `settings`. It is not started.

    Notes
    -----
    Lives in one event loop: `start`, then `drain` if there is time, then `stop`.
    """

    def __init__(self, settings: Settings, ae: "AE | None" = None) -> None:
        self._entity = ApplicationEntity(ae) if ae is not None else ApplicationEntity.from_settings(settings)
        settings = self._entity.name_in(settings)
        self.settings = settings
        self._association_settings = (
            self._entity.apply_to(settings.association) if ae is not None else settings.association
        )
        self._lock = DataFolderLock(settings.data_folder)
        self._archives = {archive.name: Archive(settings, archive) for archive in settings.archives}
        self._called = Archives(settings, self._archives)
        self._sessions: set[Session] = set()
        self._dispatcher = Dispatcher(
            {VERIFICATION_SOP_CLASS_UID: VerificationService()}, StorageService(self._called)
        )
        self._runners = [
            JobRunner(archive, handlers_of(archive), settings.jobs) for archive in self._archives.values()
        ]
        self._control = ControlServer(settings.data_folder, self._archives)
        self._is_started = False
        self._reception: Reception
        self._listeners: Listeners

    @property
    def ae_title(self) -> str:
        """The node's own AE title."""
        return self._entity.title

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each listening socket."""
        return self._listeners.addresses

    @property
    def archives(self) -> dict[str, Archive]:
        """The archives by name."""
        return dict(self._archives)

    def observe(self, observer: Callable[[InstanceKept], None]) -> None:
        """Call `observer` in the event loop for each instance that any archive keeps; after `start`."""
        for archive in self._archives.values():
            archive.ingest.observe(observer)

    async def start(self) -> None:
        """Take the data folder, recover and open the archives, then listen, to peers and to the keeper.

        Raises
        ------
        DataFolderError
            The folder is in use, read-only, or on a file system that cannot be trusted.
        IndexRevisionError
            An index is of another revision.
        ConfigurationError
            An address cannot be bound.
        """
        await asyncio.to_thread(self._open_archives)
        try:
            for runner in self._runners:
                await runner.start()
            await self._listen()
            await self._control.start()
        except BaseException:
            await self._stop_keeping()
            await asyncio.to_thread(self._close_archives)
            raise
        self._is_started = True
        log.info("node.started", ae_title=self.ae_title, addresses=self.addresses)

    async def _listen(self) -> None:
        rules = await asyncio.to_thread(self._admission_rules, self.settings)
        self._reception = Reception(
            entity=self._entity,
            rules=rules,
            acceptor_rules=self._acceptor_rules,
            occupancy=Occupancy(
                max_associations=self._association_settings.max_associations,
                max_half_open=self._association_settings.max_half_open,
            ),
            open_session=self._open_session,
        )
        self._listeners = Listeners(self._reception, self._association_settings)
        await self._listeners.open(self.settings.listen)

    async def drain(self) -> None:
        """Begin nothing new and let associations, jobs and commands finish, for at most `drain_seconds`."""
        self._reception.is_draining = True
        await self._listeners.close()
        deadline = time.monotonic() + self._association_settings.drain_seconds
        keeping = asyncio.gather(self._control.drain(), *(runner.drain() for runner in self._runners))
        try:
            await self._drain_associations(deadline)
            await asyncio.wait({keeping}, timeout=max(deadline - time.monotonic(), 0))
        finally:
            keeping.cancel()

    async def _drain_associations(self, deadline: float) -> None:
        while self._reception.occupancy.association_count and time.monotonic() < deadline:
            self._abort_idle()
            await asyncio.sleep(DRAIN_POLL_SECONDS)

    async def stop(self) -> None:
        """Abort what associations there are, finish what was wholly received, close the archives."""
        if not self._is_started:
            return
        self._is_started = False
        self._reception.is_draining = True
        await self._listeners.close()
        occupancy = self._reception.occupancy
        for connection in occupancy.connections:
            connection.abort("the node is shutting down")
            connection.close()
        await asyncio.gather(*(session.finished for session in self._sessions))
        if not await occupancy.wait_until_empty(CLOSE_SECONDS):
            for connection in occupancy.connections:
                connection.drop()
            await occupancy.wait_until_empty(CLOSE_SECONDS)
        await self._stop_keeping()
        await asyncio.to_thread(self._close_archives)
        log.info("node.stopped")

    async def reload_peers(self, settings: Settings) -> None:
        """Take `peers` and `admission` of new settings; listeners, archives and associations stay."""
        reloaded = {"peers": settings.peers, "admission": settings.admission}
        in_force = self.settings.model_copy(update=reloaded)
        self._reception.rules = await asyncio.to_thread(self._admission_rules, in_force)
        self._called.ignores_case = settings.admission.ignore_ae_title_case
        log.info("peers.reloaded", peers=len(settings.peers))

    async def _stop_keeping(self) -> None:
        await self._control.stop()
        for runner in self._runners:
            await runner.stop()

    def _open_archives(self) -> None:
        self._lock.acquire()
        opened: list[Archive] = []
        try:
            is_unsafe_allowed = self.settings.storage.allow_unsafe_filesystem
            check_filesystem(self.settings.data_folder, is_unsafe_allowed=is_unsafe_allowed)
            for archive in self._archives.values():
                archive.start()
                opened.append(archive)
        except BaseException:
            for archive in opened:
                archive.stop()
            self._lock.release()
            raise

    def _close_archives(self) -> None:
        for archive in self._archives.values():
            archive.stop()
        self._lock.release()

    def _admission_rules(self, settings: Settings) -> AdmissionRules:
        return self._entity.require(AdmissionRules.from_settings(settings))

    def _acceptor_rules(self, called_ae_title: str) -> AcceptorRules:
        archive = self._called.called(called_ae_title).settings
        return AcceptorRules(archive.accept_unknown_sop_classes, archive.private_transfer_syntaxes)

    def _open_session(self, connection: Connection, terms: Terms, association_id: str) -> Session:
        session = Session(connection, terms, association_id, self._association_settings, self._dispatcher)
        self._sessions.add(session)
        session.finished.add_done_callback(lambda _: self._sessions.discard(session))
        return session

    def _abort_idle(self) -> None:
        for session in list(self._sessions):
            if not session.is_serving and session.idle_seconds > IDLE_AT_DRAIN_SECONDS:
                session.connection.abort("the node is shutting down")
                session.connection.close()
