"""Coroutines of the client, run on either event loop, against peers that are scripted in a thread."""

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psutil
import pytest
import uvloop
from support.scripted_peer import ScriptedPeer, accept, scripted_listener

from pacslite.client import store
from pacslite.client.store import SendResult, SendSummary, Verdict
from pacslite.settings.schema import AssociationSettings, PeerSettings
from pacslite.testing import RunningNode

T = TypeVar("T")

QUICK = AssociationSettings(connect_seconds=2.0, artim_seconds=2.0, dimse_seconds=2.0)


class Run(Protocol):
    """Runs a coroutine and checks that it leaves nothing behind."""

    def __call__(self, work: Coroutine[Any, Any, T]) -> T: ...


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Give what runs a coroutine in a loop of its own, which must end without tasks, faults or sockets."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def run_clean(work: Coroutine[Any, Any, T]) -> T:
        faults: list[dict[str, Any]] = []

        async def watch() -> T:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: faults.append(context))
            try:
                return await work
            finally:
                assert asyncio.all_tasks() == {asyncio.current_task()}
                assert _sockets_of_clients() == []
                gc.collect()  # futures that nobody looked at complain when they go

        with asyncio.Runner(loop_factory=factory) as runner:
            result = runner.run(watch())
        assert faults == []
        return result

    return run_clean


def _sockets_of_clients() -> list[Any]:
    """Return this process's ends of the connections to listeners that are in this process too."""
    connections: list[Any] = psutil.Process().net_connections("tcp4")
    listening = {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
    return [each for each in connections if each.raddr and each.raddr.port in listening]


def peer_of(node: RunningNode) -> PeerSettings:
    return PeerSettings(name="node", ae_title=node.ae_title, host=node.host, port=node.port)


class Results:
    """Keeps what sending tells it."""

    def __init__(self) -> None:
        self.results: list[SendResult] = []
        self.sent_bytes = 0

    def sent(self, byte_count: int) -> None:
        self.sent_bytes += byte_count

    def finished(self, result: SendResult) -> None:
        self.results.append(result)

    @property
    def verdicts(self) -> Counter[Verdict]:
        return Counter(result.verdict for result in self.results)


async def send(
    peer: PeerSettings,
    paths: Sequence[Path],
    listener: Results,
    *,
    settings: AssociationSettings = QUICK,
    association_count: int = 1,
) -> SendSummary:
    """Send files as the AE title CLIENT."""
    return await store.send(
        peer,
        paths,
        calling_ae_title="CLIENT",
        settings=settings,
        listener=listener,
        association_count=association_count,
    )


Script = Callable[[ScriptedPeer], None]


@contextmanager
def scripted(*scripts: Script) -> Iterator[PeerSettings]:
    """Play one script for each connection that comes, in order; what it raises is raised at the end."""
    with scripted_listener() as server, ThreadPoolExecutor(1, "scripted-peer") as executor:

        def play() -> None:
            for script in scripts:
                with accept(server) as peer:
                    script(peer)

        playing: Future[None] = executor.submit(play)
        yield PeerSettings(name="peer", ae_title="PEER", host="127.0.0.1", port=server.getsockname()[1])
        playing.result(20)
