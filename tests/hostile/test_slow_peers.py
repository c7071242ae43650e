"""Peers that are slow, mute, or do not read: they harm themselves (X-SLOW)."""

import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from support import pdus
from support.nodes import RunningNode, running_node
from support.scripted_peer import ScriptedPeer, honest_echo_seconds

from pacslite.settings.schema import AssociationSettings

MIB = 1024 * 1024
LONGEST_HONEST_SECONDS = 1.0
"""What is promised is 0.2 s on a machine that has nothing else to do."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    limits = AssociationSettings(dimse_seconds=0.5, artim_seconds=10.0, idle_seconds=10.0)
    with running_node(tmp_path_factory.mktemp("node"), association=limits) as running:
        yield running


@pytest.fixture(autouse=True)
def _healthy(node: RunningNode) -> Iterator[None]:
    with node.healthy():
        yield


@pytest.fixture
def peer(node: RunningNode) -> Iterator[ScriptedPeer]:
    with ScriptedPeer.connect(node.address) as connected:
        connected.associate()
        yield connected


def honest_echoes(node: RunningNode, count: int) -> list[float]:
    return [honest_echo_seconds(node.address) for _ in range(count)]


def test_200_peers_that_send_seven_bytes_and_50_mute_ones_delay_nobody(node: RunningNode) -> None:
    slow = [ScriptedPeer.connect(node.address) for _ in range(200)]
    mute = [ScriptedPeer.connect(node.address) for _ in range(50)]
    for peer in slow:
        peer.send(pdus.associate_rq()[:7])
    seconds = honest_echoes(node, 200)
    assert max(seconds) < LONGEST_HONEST_SECONDS, f"median {statistics.median(seconds)} s"
    for peer in [*slow, *mute]:
        peer.close()


def test_peers_that_trickle_delay_nobody(node: RunningNode) -> None:
    peers = [ScriptedPeer.connect(node.address) for _ in range(100)]
    is_over = threading.Event()

    def trickle() -> None:
        for value in pdus.associate_rq():
            for peer in peers:
                peer.send(bytes((value,)))
            if is_over.wait(0.02):
                return

    sender = threading.Thread(target=trickle)
    sender.start()
    try:
        assert max(honest_echoes(node, 50)) < LONGEST_HONEST_SECONDS
    finally:
        is_over.set()
        sender.join()
    for peer in peers:
        peer.close()


def test_message_that_trickles_is_ended_by_the_dimse_watch(node: RunningNode, peer: ScriptedPeer) -> None:
    data = pdus.ct_data_set("1.2.3", 1000)
    started = time.monotonic()
    peer.send(pdus.p_data(pdus.pdv(3, pdus.COMMAND | pdus.LAST, pdus.store_rq("1.2.3"))))
    peer.socket.settimeout(0.02)
    for value in data:
        peer.send(pdus.p_data(pdus.pdv(3, 0, bytes((value,)))))
        try:
            beginning = peer.socket.recv(1)
        except TimeoutError:
            continue
        assert beginning == bytes((pdus.ABORT,))
        break
    assert 0.4 < time.monotonic() - started < 5
    assert node.node.archives["main"].reader.instance("1.2.3") is None


@pytest.mark.parametrize(
    "beginning",
    [
        pdus.p_data(pdus.pdv(1, pdus.COMMAND, pdus.echo_rq()[:30])),
        pdus.p_data(pdus.pdv(1, pdus.COMMAND, b"")),
        pdus.store_pdus("1.2.3", pdus.ct_data_set("1.2.3", 5000))[:-10],
    ],
    ids=["command", "empty-fragment", "data-set"],
)
def test_message_that_stops_is_ended_by_the_dimse_watch(peer: ScriptedPeer, beginning: bytes) -> None:
    started = time.monotonic()
    peer.send(beginning)
    peer.expect_abort(0, 0)
    assert 0.4 < time.monotonic() - started < 5


def test_sender_of_the_least_rate_is_let_finish(node: RunningNode, peer: ScriptedPeer) -> None:
    data = pdus.ct_data_set("1.2.5", 2000)
    peer.send(pdus.p_data(pdus.pdv(3, pdus.COMMAND | pdus.LAST, pdus.store_rq("1.2.5"))))
    started = time.monotonic()
    for fragment in pdus.fragments(3, 0, data, 100):
        peer.send(pdus.p_data(fragment))
        time.sleep(0.05)
    assert peer.expect_response().status == 0
    assert time.monotonic() - started > 1.0
    assert node.node.archives["main"].reader.instance("1.2.5") is not None


def test_message_is_not_hurried_while_we_do_not_read_it(node: RunningNode, peer: ScriptedPeer) -> None:
    with node.held_stores() as let_go:
        for number in range(6):
            peer.send(pdus.store_pdus(f"1.2.6.{number}", pdus.ct_data_set(f"1.2.6.{number}")))
        time.sleep(1.2)
        let_go()
        assert [peer.expect_response().status for _ in range(6)] == [0] * 6


def test_peer_that_never_reads_is_not_read_from_and_blocks_nobody(
    node: RunningNode, peer: ScriptedPeer
) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    requests = b"".join(pdus.echo_pdu(message_id=number) for number in range(10_000))
    sent_bytes = 0
    peer.socket.settimeout(0.2)  # before the DIMSE watch aborts and what comes is dropped
    with pytest.raises(TimeoutError):  # noqa: PT012 - which write finds the buffers full is open
        while sent_bytes < 64 * MIB:
            sent_bytes += peer.socket.send(requests)
    assert process.memory_info().rss - before < 32 * MIB
    assert max(honest_echoes(node, 20)) < LONGEST_HONEST_SECONDS


def test_peer_that_reads_late_gets_every_answer(peer: ScriptedPeer) -> None:
    count = 30_000
    requests = b"".join(pdus.echo_pdu(message_id=number % 0xFFFF + 1) for number in range(count))
    sender = threading.Thread(target=peer.send, args=(requests,))
    sender.start()
    time.sleep(0.3)
    for number in range(count):
        assert peer.expect_response().message_id == number % 0xFFFF + 1
    sender.join()


@contextmanager
def flooding(peer: ScriptedPeer, data: bytes) -> Iterator[None]:
    """Send `data` again and again, and read whatever comes, until the end; then reset the connection."""
    is_over = threading.Event()

    def send() -> None:
        with suppress(OSError):
            while not is_over.is_set():
                peer.send(data)

    def read() -> None:
        with suppress(OSError):
            while peer.socket.recv(MIB):
                pass

    threads = [threading.Thread(target=send), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        peer.socket.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def test_flood_of_pipelined_requests_leaves_time_for_others(node: RunningNode, peer: ScriptedPeer) -> None:
    with flooding(peer, pdus.echo_pdu() * 1000):
        assert statistics.median(honest_echoes(node, 10)) < LONGEST_HONEST_SECONDS


def test_flood_of_tiny_fragments_leaves_time_for_others(node: RunningNode, peer: ScriptedPeer) -> None:
    peer.send(pdus.p_data(pdus.pdv(3, pdus.COMMAND | pdus.LAST, pdus.store_rq("1.2.7"))))
    with flooding(peer, pdus.p_data(*[pdus.pdv(3, 0, b"x") for _ in range(10_000)])):
        assert statistics.median(honest_echoes(node, 10)) < LONGEST_HONEST_SECONDS


def test_connections_that_open_and_close_leave_nothing(node: RunningNode) -> None:
    node.wait_for_connections(0, seconds=30.0)  # those of a test before this one may have ARTIM left
    process = psutil.Process()
    before = process.num_fds()
    for _ in range(500):
        ScriptedPeer.connect(node.address).close()
    node.wait_for_connections(0)
    assert process.num_fds() <= before + 2


@pytest.mark.parametrize("timer", ["idle_seconds", "dimse_seconds"])
def test_peer_that_never_reads_is_left_in_the_end(tmp_path: Path, timer: str) -> None:
    limits = AssociationSettings(artim_seconds=0.5).model_copy(update={timer: 0.5})
    with running_node(tmp_path, association=limits) as node, ScriptedPeer.connect(node.address) as peer:
        peer.associate()
        peer.socket.settimeout(0.3)
        with pytest.raises(OSError, match=r"timed out|reset|Broken pipe"):
            peer.send(pdus.echo_pdu() * 200_000)
        node.wait_for_connections(0)
        assert node.loop_errors == []
