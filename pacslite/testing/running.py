"""A node in a thread of the test's process, with an event loop of its own."""

import asyncio
import logging
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from pacslite.model.errors import ConfigurationError
from pacslite.node import Node
from pacslite.settings.schema import Settings
from pacslite.testing.received import Received, ReceivedInstance

T = TypeVar("T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]

_DEFAULTS: Final[dict[str, Any]] = {
    "listen": [{"port": 0}],
    "storage": {"reserve_bytes": 0, "segment_files": 16},
}
"""A free port on loopback; small segments, which are made faster."""


class _NodeThread:
    """One life of a node: from start to stop, in a thread."""

    def __init__(self, settings: Settings, received: Received, loop_factory: LoopFactory | None) -> None:
        self._settings = settings
        self._received = received
        self._loop_factory = loop_factory
        self._is_up = threading.Event()
        self._error: BaseException | None = None
        self._faults: list[Exception] = []
        self._loop: asyncio.AbstractEventLoop
        self._stop_asked: asyncio.Event
        self._thread = threading.Thread(target=self._run, name="pacslite-node")
        self.node: Node

    def start(self) -> None:
        """Return once the node accepts associations, or raise what kept it from that."""
        self._thread.start()
        self._is_up.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def stop(self) -> None:
        """End every association and return once the thread is gone; raise what went wrong in the node."""
        self._loop.call_soon_threadsafe(self._stop_asked.set)
        self._thread.join()
        if self._error is not None:
            raise self._error
        if self._faults:
            raise ExceptionGroup("the node's event loop met unexpected errors", self._faults)

    def run(self, work: Callable[[Node], Coroutine[Any, Any, T]]) -> T:
        """Run `work` in the node's event loop."""
        return asyncio.run_coroutine_threadsafe(work(self.node), self._loop).result()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._live())
        # whatever it is, it belongs to the thread that starts or stops the node
        except BaseException as error:  # noqa: BLE001 - see above
            self._error = error
        finally:
            self._is_up.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._note_fault)
        self._stop_asked = asyncio.Event()
        self.node = Node(self._settings)
        await self.node.start()
        try:
            self.node.observe(self._received.note)
            self._is_up.set()
            await self._stop_asked.wait()
        finally:
            await self.node.stop()

    def _note_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        fault = context.get("exception")
        self._faults.append(fault if isinstance(fault, Exception) else RuntimeError(context["message"]))


class RunningNode:
    """A running node.

    Parameters
    ----------
    settings
        All of them; port 0 takes a free one.
    loop_factory
        Makes the node's event loop; None: asyncio's own.

    Notes
    -----
    Every method may be called in any thread but the node's. In a coroutine, wait in a thread:
    ``await asyncio.to_thread(pacs.wait_for, 3)``.
    """

    def __init__(self, settings: Settings, loop_factory: LoopFactory | None = None) -> None:
        self._wanted_settings = settings
        self._received = Received()
        self._loop_factory = loop_factory
        self._running: _NodeThread | None = None
        self.settings = settings
        self.addresses: list[tuple[str, int]] = []

    def start(self) -> None:
        """Start the node.

        Raises
        ------
        PacsliteError
            As `Node.start`.
        """
        running = _NodeThread(self.settings, self._received, self._loop_factory)
        running.start()
        self._running = running
        self.addresses = running.node.addresses

    def stop(self) -> None:
        """Abort what associations there are and close everything; nothing is left behind but the folder.

        Raises
        ------
        ExceptionGroup
            Something raised in the node's event loop that nobody expected.
        """
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    def restart(self) -> None:
        """Stop and start on the same folder, and on the same ports unless another process took one."""
        self.stop()
        self.settings = self._on_same_ports()
        try:
            self.start()
        except ConfigurationError:
            if self.settings is self._wanted_settings:
                raise
            self.settings = self._wanted_settings
            self.start()

    def _on_same_ports(self) -> Settings:
        listeners = self._wanted_settings.listen
        if len(listeners) != len(self.addresses):  # a host name with several addresses
            return self._wanted_settings
        same = [
            listener.model_copy(update={"port": port})
            for listener, (_, port) in zip(listeners, self.addresses, strict=True)
        ]
        return self._wanted_settings.model_copy(update={"listen": same})

    def run(self, work: Callable[[Node], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine of the node in its event loop: ``pacs.run(lambda node: node.drain())``."""
        return self._life.run(work)

    @property
    def node(self) -> Node:
        """The node itself; its coroutines belong to its own thread: see `run`.

        Raises
        ------
        RuntimeError
            It is stopped.
        """
        return self._life.node

    @property
    def _life(self) -> _NodeThread:
        if self._running is None:
            raise RuntimeError("the node is not running")
        return self._running

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the first listener."""
        return self.addresses[0]

    @property
    def host(self) -> str:
        """Host of the first listener."""
        return self.address[0]

    @property
    def port(self) -> int:
        """Port of the first listener."""
        return self.address[1]

    @property
    def ae_title(self) -> str:
        """The AE title to call."""
        return self.settings.archives[0].titles(self.settings)[0]

    @property
    def data_folder(self) -> Path:
        """Where the archives are."""
        return self.settings.data_folder

    @property
    def received(self) -> list[ReceivedInstance]:
        """The instances acknowledged so far, in order, over restarts."""
        return self._received.all()

    def wait_for(
        self,
        wanted: int | Callable[[Sequence[ReceivedInstance]], object],
        *,
        timeout_seconds: float = 10.0,
    ) -> list[ReceivedInstance]:
        """Wait until so many instances came, or until `wanted` is true of all that came; return them.

        Raises
        ------
        NotReceivedError
            Not within `timeout_seconds`; the text lists what came.
        """
        return self._received.wait_for(wanted, timeout_seconds)


@contextmanager
def running_node(
    settings: Settings | None = None, *, loop_factory: LoopFactory | None = None, **changes: Any
) -> Iterator[RunningNode]:
    """Run a node for the time of a `with` block.

    Parameters
    ----------
    settings
        All of them; None: a temporary data folder, a free port on loopback, no disk reserve.
    loop_factory
        Makes the node's event loop; None: asyncio's own.
    changes
        Instead of `settings`: top-level keys of the settings, such as ``ae_title="ARCHIVE"``,
        ``association={"max_associations": 2}`` or ``peers=[PeerSettings(…)]``.

    Raises
    ------
    TypeError
        Both settings and changes are given.
    pydantic.ValidationError
        The changes are no settings.
    PacsliteError
        As `Node.start`.
    """
    if settings is not None and changes:
        raise TypeError("give settings or changes, not both")
    with ExitStack() as stack:
        stack.enter_context(_logging_as_pytest_likes())
        if settings is None:
            settings = _settings(changes, stack)
        running = RunningNode(settings, loop_factory)
        stack.callback(running.stop)
        running.start()
        yield running


@contextmanager
def _logging_as_pytest_likes() -> Iterator[None]:
    """Log by way of `logging`, unless the test chose otherwise: structlog's default is standard output."""
    if structlog.is_configured():
        yield
        return
    structlog.configure(
        processors=[
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    try:
        yield
    finally:
        structlog.reset_defaults()


def _settings(changes: dict[str, Any], stack: ExitStack) -> Settings:
    if "data_folder" not in changes:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pacslite-"))
        changes["data_folder"] = Path(folder)
    values = _DEFAULTS | changes
    if isinstance(values["storage"], dict):
        values["storage"] = _DEFAULTS["storage"] | values["storage"]
    return Settings.model_validate(values)
