"""How associations end, in every state, and with a node that shuts down (PS3.8 7.2 to 7.4, 9.2)."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import pdus
from support.nodes import RunningNode, running_node
from support.scripted_peer import PeerError, ScriptedPeer

from pacslite.settings.schema import AssociationSettings

ARTIM_SECONDS = 0.4
LARGE_REQUEST = pdus.associate_rq([pdus.VERIFICATION_CONTEXT, *[pdus.item(0x77, b"\0" * 60_000)] * 17])
"""Long enough to be decoded aside, so that what follows finds the node in Sta3."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    limits = AssociationSettings(artim_seconds=ARTIM_SECONDS, idle_seconds=30.0)
    with running_node(tmp_path_factory.mktemp("node"), association=limits) as running:
        yield running


@pytest.fixture(autouse=True)
def _healthy(request: pytest.FixtureRequest) -> Iterator[None]:
    if "node" not in request.fixturenames:
        yield
        return
    with request.getfixturevalue("node").healthy():
        yield


@pytest.fixture
def peer(node: RunningNode) -> Iterator[ScriptedPeer]:
    with ScriptedPeer.connect(node.address) as connected:
        yield connected


def check_nothing_left(node: RunningNode) -> None:
    node.wait_for_connections(0)
    deadline = time.monotonic() + 10
    while node.node._sessions:
        assert time.monotonic() < deadline, "a session is left"
        time.sleep(0.005)


def expect_nothing(peer: ScriptedPeer, seconds: float = 0.1) -> None:
    """Check that the node stays silent and the connection open."""
    peer.socket.settimeout(seconds)
    with pytest.raises(TimeoutError):
        peer.socket.recv(1)
    peer.socket.settimeout(peer.deadline_seconds)


def test_release_is_answered_and_the_requestor_closes(node: RunningNode, peer: ScriptedPeer) -> None:
    node.wait_for_connections(1)
    peer.associate()
    peer.send(pdus.release_rq())
    peer.expect_release_rp()
    expect_nothing(peer)
    peer.close()
    check_nothing_left(node)


def test_requestor_that_does_not_close_after_its_release_is_closed_by_artim(peer: ScriptedPeer) -> None:
    peer.associate()
    started = time.monotonic()
    peer.send(pdus.release_rq())
    peer.expect_release_rp()
    peer.expect_closed()
    assert time.monotonic() - started > ARTIM_SECONDS * 0.9


def test_rejected_requestor_that_does_not_close_is_closed_by_artim(peer: ScriptedPeer) -> None:
    peer.send(pdus.associate_rq(application_context="1.2.3"))
    peer.expect_reject(1, 1, 2)
    peer.expect_closed()


def test_abort_in_sta2_closes(peer: ScriptedPeer) -> None:
    peer.send(pdus.abort())
    peer.expect_closed()


def test_abort_in_sta3_closes_and_leaves_no_session(node: RunningNode, peer: ScriptedPeer) -> None:
    peer.send(LARGE_REQUEST + pdus.abort())
    peer.expect_closed()
    check_nothing_left(node)


def test_loss_of_the_connection_in_sta3_leaves_no_session(node: RunningNode) -> None:
    for _ in range(3):
        with ScriptedPeer.connect(node.address) as peer:
            peer.send(LARGE_REQUEST)
    check_nothing_left(node)


def test_data_in_sta3_is_aborted_as_unexpected(node: RunningNode, peer: ScriptedPeer) -> None:
    peer.send(LARGE_REQUEST + pdus.echo_pdu())
    peer.expect_abort(2, 2)
    peer.close()
    check_nothing_left(node)


def test_abort_in_sta6_closes(node: RunningNode, peer: ScriptedPeer) -> None:
    peer.associate()
    peer.send(pdus.abort())
    peer.expect_closed()
    check_nothing_left(node)


def test_abort_in_sta8_closes_and_what_was_received_whole_is_kept(
    node: RunningNode, peer: ScriptedPeer
) -> None:
    with node.held_stores():
        peer.associate()
        peer.send(pdus.store_pdus("1.2.8.1", pdus.ct_data_set("1.2.8.1")) + pdus.release_rq())
        expect_nothing(peer)
        peer.send(pdus.abort())
        peer.expect_closed()
    check_nothing_left(node)
    assert node.node.archives["main"].reader.instance("1.2.8.1") is not None


def test_abort_in_sta13_closes(peer: ScriptedPeer) -> None:
    peer.associate()
    peer.send(pdus.release_rq())
    peer.expect_release_rp()
    peer.send(pdus.abort())
    peer.expect_closed()


@pytest.mark.parametrize(
    "unexpected",
    [
        pdus.associate_ac([]),
        pdus.associate_rj(1, 1, 1),
        pdus.echo_pdu(),
        pdus.release_rq(),
        pdus.release_rp(),
    ],
    ids=["associate-ac", "associate-rj", "p-data", "release-rq", "release-rp"],
)
def test_unexpected_pdu_in_sta2_is_aborted_as_user(peer: ScriptedPeer, unexpected: bytes) -> None:
    peer.send(unexpected)
    peer.expect_abort(0, 0)


@pytest.mark.parametrize(
    "unexpected",
    [pdus.associate_rq(), pdus.associate_ac([]), pdus.associate_rj(1, 1, 1), pdus.release_rp()],
    ids=["associate-rq", "associate-ac", "associate-rj", "release-rp"],
)
def test_unexpected_pdu_in_sta6_is_aborted_as_provider(peer: ScriptedPeer, unexpected: bytes) -> None:
    peer.associate()
    peer.send(unexpected)
    peer.expect_abort(2, 2)


@pytest.mark.parametrize(
    "unexpected",
    [pdus.echo_pdu(), pdus.release_rq(), pdus.release_rp(), pdus.associate_rq()],
    ids=["p-data", "release-rq", "release-rp", "associate-rq"],
)
def test_unexpected_pdu_in_sta8_is_aborted_as_provider(
    node: RunningNode, peer: ScriptedPeer, unexpected: bytes
) -> None:
    with node.held_stores():
        peer.associate()
        peer.send(pdus.store_pdus("1.2.8.2", pdus.ct_data_set("1.2.8.2")) + pdus.release_rq())
        expect_nothing(peer)
        peer.send(unexpected)
        peer.expect_abort(2, 2)


@pytest.mark.parametrize("unexpected", [pdus.echo_pdu(), pdus.release_rq(), pdus.release_rp()])
def test_pdus_in_sta13_are_ignored(peer: ScriptedPeer, unexpected: bytes) -> None:
    peer.associate()
    peer.send(pdus.release_rq())
    peer.expect_release_rp()
    peer.send(unexpected)
    peer.expect_closed()


def test_associate_request_or_garbage_in_sta13_is_aborted_again(peer: ScriptedPeer) -> None:
    peer.associate()
    peer.send(pdus.release_rq())
    peer.expect_release_rp()
    peer.send(pdus.associate_rq())
    peer.expect_abort(2, 2)
    peer.send(b"\xff")
    peer.expect_abort(2, 2)
    peer.expect_closed()


def test_release_while_a_store_is_committed_is_answered_after_it(
    node: RunningNode, peer: ScriptedPeer
) -> None:
    with node.held_stores() as let_go:
        peer.associate()
        peer.send(pdus.store_pdus("1.2.8.3", pdus.ct_data_set("1.2.8.3")) + pdus.release_rq())
        expect_nothing(peer)
        let_go()
        assert peer.expect_response().status == 0
        peer.expect_release_rp()


def test_pipelined_requests_are_answered_in_their_order(node: RunningNode, peer: ScriptedPeer) -> None:
    with node.held_stores() as let_go:
        peer.associate()
        peer.send(pdus.store_pdus("1.2.8.4", pdus.ct_data_set("1.2.8.4"), message_id=1))
        peer.send(b"".join(pdus.echo_pdu(message_id=number) for number in range(2, 1002)))
        peer.send(pdus.release_rq())
        expect_nothing(peer)
        let_go()
        assert [peer.expect_response().message_id for _ in range(1001)] == list(range(1, 1002))
        peer.expect_release_rp()


def test_association_without_traffic_is_aborted_after_the_idle_time(tmp_path: Path) -> None:
    limits = AssociationSettings(idle_seconds=0.4)
    with running_node(tmp_path, association=limits) as node, ScriptedPeer.connect(node.address) as peer:
        peer.associate()
        for _ in range(3):
            time.sleep(0.25)
            assert peer.echo().status == 0
        started = time.monotonic()
        peer.expect_abort(0, 0)
        assert time.monotonic() - started > 0.3


def drain_aside(node: RunningNode, pool: ThreadPoolExecutor) -> Callable[[], float]:
    """Begin to drain; what is returned waits for the end and returns how long it took."""
    started = time.monotonic()
    draining = pool.submit(lambda: node.call(node.node.drain))

    def wait() -> float:
        draining.result(30)
        return time.monotonic() - started

    while not node.node._reception.is_draining:
        time.sleep(0.005)
    return wait


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def test_drain_lets_a_store_finish(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with running_node(tmp_path) as node, ScriptedPeer.connect(node.address) as peer:
        with node.held_stores() as let_go:
            peer.associate()
            peer.send(pdus.store_pdus("1.2.8.5", pdus.ct_data_set("1.2.8.5")))
            wait = drain_aside(node, pool)
            expect_nothing(peer)
            let_go()
            assert peer.expect_response().status == 0
        peer.release()
        assert wait() < 5


def test_drain_lets_a_half_received_data_set_come(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with running_node(tmp_path) as node, ScriptedPeer.connect(node.address) as peer:
        message = pdus.store_pdus("1.2.8.6", pdus.ct_data_set("1.2.8.6", 100_000))
        peer.associate()
        peer.send(message[:50_000])
        expect_nothing(peer)
        wait = drain_aside(node, pool)
        expect_nothing(peer, 0.3)
        peer.send(message[50_000:])
        assert peer.expect_response().status == 0
        peer.release()
        assert wait() < 5


def test_drain_is_over_after_its_time_and_stop_aborts(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    limits = AssociationSettings(drain_seconds=0.5)
    with running_node(tmp_path, association=limits) as node, ScriptedPeer.connect(node.address) as peer:
        message = pdus.store_pdus("1.2.8.7", pdus.ct_data_set("1.2.8.7", 100_000))
        peer.associate()
        peer.send(message[:50_000])
        expect_nothing(peer)
        assert 0.4 < drain_aside(node, pool)() < 5
        expect_nothing(peer)
        node.call(node.node.stop)
        peer.expect_abort(0, 0)
        peer.expect_closed()
        assert node.stored_files() == []


def test_drain_ends_idle_associations(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with running_node(tmp_path) as node, ScriptedPeer.connect(node.address) as peer:
        peer.associate()
        wait = drain_aside(node, pool)
        peer.expect_abort(0, 0)
        peer.close()
        assert wait() < 3


def test_draining_node_takes_no_new_association(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with running_node(tmp_path) as node:
        address = node.address
        with ScriptedPeer.connect(address) as half_open, ScriptedPeer.connect(address) as peer:
            peer.associate()
            node.wait_for_connections(2)
            wait = drain_aside(node, pool)
            half_open.send(pdus.associate_rq())
            half_open.expect_reject(2, 3, 1)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, timeout=5)
            peer.release()
            wait()


def test_stop_without_drain_finishes_what_was_received_whole(tmp_path: Path) -> None:
    with running_node(tmp_path) as node, ScriptedPeer.connect(node.address) as peer:
        peer.associate()
        with node.held_stores() as let_go, ThreadPoolExecutor(1) as pool:
            peer.send(pdus.store_pdus("1.2.8.8", pdus.ct_data_set("1.2.8.8")))
            expect_nothing(peer)
            stopping = pool.submit(lambda: node.call(node.node.stop))
            peer.expect_abort(0, 0)
            let_go()
            stopping.result(10)
        assert len(node.stored_files()) == 1
    with running_node(tmp_path) as node:
        assert len(node.stored_paths()) == 1


def test_stop_is_not_held_up_by_mute_or_unreading_peers(tmp_path: Path) -> None:
    with running_node(tmp_path) as node:
        mute = [ScriptedPeer.connect(node.address) for _ in range(20)]
        with ScriptedPeer.connect(node.address) as unreading:
            unreading.associate()
            unreading.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                unreading.send(b"".join(pdus.echo_pdu() for _ in range(200_000)))
            started = time.monotonic()
            node.call(node.node.stop)
            assert time.monotonic() - started < 5
        for peer in mute:
            with pytest.raises(PeerError):
                peer.receive()
            peer.close()
