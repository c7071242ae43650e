"""Nodes that run in a thread of their own, for tests that speak to them over a socket."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import uvloop
from pynetdicom import AE
from structlog.testing import capture_logs
from support.scripted_peer import honest_echo_seconds

from pacslite.archive.receipt import Receipt
from pacslite.model.instances import Outcome
from pacslite.node import Node
from pacslite.settings.schema import AssociationSettings, Listener, Settings, StorageSettings

T = TypeVar("T")

HONEST_SECONDS: Final = 2.0
"""An honest association takes a few milliseconds; the rest is for busy machines."""

STORAGE = StorageSettings(reserve_bytes=0, segment_files=16)


def node_settings(data_folder: Path, **choices: Any) -> Settings:
    """Return settings of a small node on a free port; `choices` replace or add."""
    defaults: dict[str, Any] = {
        "data_folder": data_folder,
        "listen": [Listener(port=0)],
        "storage": STORAGE,
        "association": AssociationSettings(artim_seconds=2.0, drain_seconds=5.0),
    }
    return Settings(**(defaults | choices))


class RunningNode:
    """A node, its event loop, and what went wrong in it."""

    def __init__(self, settings: Settings, ae: AE | None = None) -> None:
        self.settings = settings
        self._ae = ae
        self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()  # as `pacslite serve` does
        self.loop_errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.loop_errors.append(context))
        self._thread = threading.Thread(target=self.loop.run_forever, name="node-loop", daemon=True)
        self._thread.start()
        self.node = self.call(self._make)

    async def _make(self) -> Node:
        return Node(self.settings, self._ae)

    def start(self) -> Self:
        self.call(self.node.start)
        return self

    def call(self, function: Callable[[], Awaitable[T]], *, seconds: float = 30.0) -> T:
        """Run `function` in the node's event loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(_awaited(function), self.loop).result(seconds)

    @property
    def address(self) -> tuple[str, int]:
        return self.node.addresses[0]

    @property
    def connection_count(self) -> int:
        """How many connections the node counts, negotiated or not."""
        return len(self.node._reception.occupancy.connections)

    def wait_for_connections(self, count: int, *, seconds: float = 10.0) -> None:
        """Wait until the node counts so many connections."""
        deadline = time.monotonic() + seconds
        while self.connection_count != count:
            assert time.monotonic() < deadline, f"{self.connection_count} connections in place of {count}"
            time.sleep(0.005)

    def stored_paths(self) -> list[str]:
        """Return the path of each instance that the first archive's index names."""
        archive = next(iter(self.node.archives.values()))
        return sorted(archive.reader.named_paths(""))

    def stored_files(self) -> list[Path]:
        """Return the non-empty files of the store."""
        return sorted(
            path
            for path in self.settings.data_folder.rglob("*.dcm")
            if path.is_file() and path.stat().st_size
        )

    @contextmanager
    def healthy(self) -> Iterator[list[MutableMapping[str, Any]]]:
        """Yield what is logged; check at the end that nothing raised and that an honest peer is served."""
        with capture_logs() as events:
            yield events
            seconds = honest_echo_seconds(self.address)
        assert seconds < HONEST_SECONDS
        assert self.loop_errors == []
        failures = [event for event in events if event["event"].endswith(".failed") or "exc_info" in event]
        assert failures == []

    @contextmanager
    def held_stores(self) -> Iterator[Callable[[], None]]:
        """Let no C-STORE of the first archive finish until what is yielded is called, or the end."""
        ingest = next(iter(self.node.archives.values())).ingest
        keep = ingest.keep
        gate = self.call(_make_event)

        async def keep_later(receipt: Receipt) -> Outcome:
            await gate.wait()
            return await keep(receipt)

        def let_go() -> None:
            self.loop.call_soon_threadsafe(gate.set)

        ingest.keep = keep_later  # type: ignore[method-assign] # put back below
        try:
            yield let_go
        finally:
            let_go()
            del ingest.keep

    def close(self) -> None:
        try:
            self.call(self.node.stop)
        finally:
            self.call(_cancel_others)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(10)
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()


async def _awaited(function: Callable[[], Awaitable[T]]) -> T:
    return await function()


async def _make_event() -> asyncio.Event:
    return asyncio.Event()


async def _cancel_others() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def running_node(data_folder: Path, ae: AE | None = None, **choices: Any) -> Iterator[RunningNode]:
    """Run a node on a free port, around a pynetdicom `ae` if given; see `node_settings`."""
    node = RunningNode(node_settings(data_folder, **choices), ae)
    try:
        yield node.start()
    finally:
        node.close()
