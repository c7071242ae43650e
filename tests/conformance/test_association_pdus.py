"""PDUs, fragments and what becomes of what was half received (PS3.8 9.2, 9.3).

Cases A11 to A14 and A19 to A21 of dimse-behaviour.
"""

import os
import resource
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import pdus
from support.nodes import RunningNode, running_node
from support.scripted_peer import ScriptedPeer, honest_echo_seconds

from pacslite.dimse.commands import decode_command, encode_response
from pacslite.model.statuses import Status, StatusReport
from pacslite.settings.schema import AssociationSettings
from pacslite.upperlayer.pdu import MAX_ASSOCIATE_BYTES

MIB = 1024 * 1024
ARTIM_SECONDS = 0.4

TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(190))
HTTP = b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n"
SSH = b"SSH-2.0-OpenSSH_9.6\r\n"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    limits = AssociationSettings(artim_seconds=ARTIM_SECONDS)
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


def kept_data_set(node: RunningNode, sop_instance_uid: str) -> bytes:
    archive = node.node.archives["main"]
    kept = archive.reader.instance(sop_instance_uid)
    assert kept is not None
    return archive.store.path(kept.file.path).read_bytes()[kept.file.data_set_offset :]


def test_a11_p_data_over_our_maximum_is_aborted_before_it_comes(peer: ScriptedPeer) -> None:
    length = peer.associate().max_length + 1
    peer.send(pdus.pdu(pdus.P_DATA, b"", length=length))
    peer.expect_abort(2, 6)


def test_a11_p_data_of_exactly_our_maximum_is_taken(node: RunningNode, peer: ScriptedPeer) -> None:
    size = peer.associate().max_length - 6
    data = pdus.ct_data_set("1.2.11.1", 300_000)
    peer.send(pdus.store_pdus("1.2.11.1", data, size=size))
    assert peer.expect_response().status == 0
    assert kept_data_set(node, "1.2.11.1") == data


@pytest.mark.parametrize("kind", [pdus.ASSOCIATE_RQ, pdus.P_DATA, pdus.ASSOCIATE_AC, pdus.ABORT])
@pytest.mark.parametrize("length", [MAX_ASSOCIATE_BYTES + 1, 0x8000_0000, 0xFFFF_FFFF])
def test_a11_declared_length_is_not_believed(peer: ScriptedPeer, kind: int, length: int) -> None:
    peer.send(pdus.pdu(kind, b"", length=length))
    peer.expect_abort(2, 6)


def test_a11_associate_request_of_the_longest_length_is_read(peer: ScriptedPeer) -> None:
    filler = pdus.item(0x77, bytes(60_000))
    request = pdus.associate_rq([pdus.VERIFICATION_CONTEXT, *[filler] * 17])
    assert 1_000_000 < len(request) < MAX_ASSOCIATE_BYTES
    peer.send(request)
    assert peer.expect_associate_ac().results == {1: 0}
    assert peer.echo().status == 0


@pytest.mark.parametrize(
    "data",
    [HTTP, TLS_HELLO, SSH, b"\0", b"\x08", b"\xff" * 100],
    ids=["http", "tls", "ssh", "type-00", "type-08", "type-ff"],
)
def test_a12_other_protocols_are_aborted_as_aa_1_says_and_closed_under_artim(
    node: RunningNode, data: bytes
) -> None:
    with node.healthy() as events, ScriptedPeer.connect(node.address) as peer:
        started = time.monotonic()
        peer.send(data)
        peer.expect_abort(0, 0)
        peer.expect_closed()
        assert time.monotonic() - started > ARTIM_SECONDS / 2
    refusals = [event for event in events if event["event"] == "connection.pdu_refused"]
    assert len(refusals) == 1


@pytest.mark.parametrize("data", [HTTP, TLS_HELLO, b"\0"], ids=["http", "tls", "type-00"])
def test_a12_other_bytes_in_an_association_are_aborted_as_aa_8_says(peer: ScriptedPeer, data: bytes) -> None:
    peer.associate()
    peer.send(data)
    peer.expect_abort(2, 1)


def test_a12_peer_that_closes_after_the_abort_is_let_go_at_once(node: RunningNode) -> None:
    node.wait_for_connections(0)
    with ScriptedPeer.connect(node.address) as peer:
        peer.send(HTTP)
        peer.expect_abort(0, 0)
    node.wait_for_connections(0, seconds=ARTIM_SECONDS * 0.8)


@pytest.mark.parametrize(
    "beginning",
    [b"", b"\1", pdus.associate_rq()[:7], pdus.associate_rq()[:-1]],
    ids=["mute", "one-byte", "header", "all-but-one-byte"],
)
def test_a13_connection_that_falls_silent_is_closed_by_artim(node: RunningNode, beginning: bytes) -> None:
    with ScriptedPeer.connect(node.address) as peer:
        started = time.monotonic()
        peer.send(beginning)
        assert honest_echo_seconds(node.address) < ARTIM_SECONDS
        peer.expect_closed()
        assert ARTIM_SECONDS * 0.9 < time.monotonic() - started < ARTIM_SECONDS + 5


def test_a13_bytes_that_trickle_do_not_restart_artim(node: RunningNode, peer: ScriptedPeer) -> None:
    started = time.monotonic()
    with pytest.raises(ConnectionError):  # noqa: PT012 - which byte meets the closed connection is open
        for value in pdus.associate_rq():
            peer.send(bytes((value,)))
            time.sleep(0.02)
    assert time.monotonic() - started < ARTIM_SECONDS + 3
    assert honest_echo_seconds(node.address) < ARTIM_SECONDS


def fragmented_by_byte(uid: str, data: bytes) -> list[bytes]:
    command = pdus.fragments(3, pdus.COMMAND, pdus.store_rq(uid), 1)
    return [pdus.p_data(*command), *(pdus.p_data(piece) for piece in pdus.fragments(3, 0, data, 1))]


def many_pdvs_in_a_pdu(uid: str, data: bytes) -> list[bytes]:
    command = pdus.fragments(3, pdus.COMMAND, pdus.store_rq(uid), 7)
    pieces = pdus.fragments(3, 0, data, 1)
    return [pdus.p_data(*command, *pieces[:100]), pdus.p_data(*pieces[100:])]


def hundreds_of_pdus(uid: str, data: bytes) -> list[bytes]:
    return [pdus.store_pdus(uid, data, size=max(1, len(data) // 700))]


def one_pdu(uid: str, data: bytes) -> list[bytes]:
    command = pdus.pdv(3, pdus.COMMAND | pdus.LAST, pdus.store_rq(uid))
    return [pdus.p_data(command, pdus.pdv(3, pdus.LAST, data))]


def last_fragment_empty(uid: str, data: bytes) -> list[bytes]:
    command = pdus.pdv(3, pdus.COMMAND, pdus.store_rq(uid)), pdus.pdv(3, pdus.COMMAND | pdus.LAST, b"")
    pieces = pdus.pdv(3, 0, b""), pdus.pdv(3, 0, data), pdus.pdv(3, 0, b""), pdus.pdv(3, pdus.LAST, b"")
    return [pdus.p_data(*command, *pieces)]


def pdu_without_pdvs_between(uid: str, data: bytes) -> list[bytes]:
    empty = pdus.p_data()
    return [empty, *(pdu + empty for pdu in fragmented_by_byte(uid, data))]


@pytest.mark.parametrize("size", [2, 64, 3000])
@pytest.mark.parametrize(
    "fragment",
    [
        fragmented_by_byte,
        many_pdvs_in_a_pdu,
        hundreds_of_pdus,
        one_pdu,
        last_fragment_empty,
        pdu_without_pdvs_between,
    ],
)
def test_a14_message_is_put_together_from_any_fragments(
    node: RunningNode, peer: ScriptedPeer, fragment: Callable[[str, bytes], list[bytes]], size: int
) -> None:
    uid = f"1.2.14.{size}.{len(fragment.__name__)}"
    data = pdus.ct_data_set(uid, size)
    peer.associate()
    peer.send(b"".join(fragment(uid, data)))
    assert peer.expect_response().status == 0
    assert kept_data_set(node, uid) == data
    assert peer.echo().status == 0


def test_a14_bytes_may_come_one_by_one(node: RunningNode, peer: ScriptedPeer) -> None:
    data = pdus.ct_data_set("1.2.14.1")
    peer.send_bytewise(pdus.associate_rq())
    peer.expect_associate_ac()
    peer.send_bytewise(pdus.store_pdus("1.2.14.1", data, size=50))
    assert peer.expect_response().status == 0
    assert kept_data_set(node, "1.2.14.1") == data
    peer.send_bytewise(pdus.release_rq())
    peer.expect_release_rp()


def test_a14_ten_thousand_fragments_in_one_read(node: RunningNode, peer: ScriptedPeer) -> None:
    data = pdus.ct_data_set("1.2.14.2", 10_000)
    peer.associate()
    peer.send(b"".join(fragmented_by_byte("1.2.14.2", data)) + pdus.echo_pdu(message_id=9))
    assert peer.expect_response().status == 0
    assert peer.expect_response().message_id == 9
    assert kept_data_set(node, "1.2.14.2") == data


def end_by_abort(peer: ScriptedPeer) -> None:
    peer.send(pdus.abort())
    peer.expect_closed()


def end_by_reset(peer: ScriptedPeer) -> None:
    peer.reset()


def end_by_close(peer: ScriptedPeer) -> None:
    peer.close()


def end_by_release(peer: ScriptedPeer) -> None:
    peer.release()


def end_by_garbage(peer: ScriptedPeer) -> None:
    peer.send(b"\xff")
    peer.expect_abort(2, 1)


def end_by_wrong_context(peer: ScriptedPeer) -> None:
    peer.send(pdus.p_data(pdus.pdv(1, pdus.LAST, b"x")))
    peer.expect_abort(2, 6)


@pytest.mark.parametrize("sent_bytes", [0, 10, 100_000, 5 * MIB])
@pytest.mark.parametrize(
    "end",
    [end_by_abort, end_by_reset, end_by_close, end_by_release, end_by_garbage, end_by_wrong_context],
)
def test_a19_association_that_ends_within_a_data_set_leaves_nothing(
    node: RunningNode, end: Callable[[ScriptedPeer], None], sent_bytes: int
) -> None:
    files, rows = node.stored_files(), node.stored_paths()
    data = pdus.ct_data_set("1.2.19.1", sent_bytes)
    command = pdus.p_data(pdus.pdv(3, pdus.COMMAND | pdus.LAST, pdus.store_rq("1.2.19.1")))
    pieces = pdus.fragments(3, 0, data[:sent_bytes] + b"more", 100_000)[:-1]
    with ScriptedPeer.connect(node.address) as peer:
        peer.associate()
        peer.send(command + b"".join(pdus.p_data(piece) for piece in pieces))
        end(peer)
    node.wait_for_connections(0)
    deadline = time.monotonic() + 10
    while node.stored_files() != files:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert node.stored_paths() == rows
    assert node.node.archives["main"].reader.instance("1.2.19.1") is None


@pytest.fixture
def _many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2048
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"the hard limit of descriptors is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    yield
    for descriptor in taken:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_many_descriptors")
def test_a20_descriptors_above_1023_serve_as_well(tmp_path: Path) -> None:
    with running_node(tmp_path) as node, ScriptedPeer.connect(node.address) as peer:
        assert peer.socket.fileno() > 1023
        peer.associate()
        data = pdus.ct_data_set("1.2.20.1", 100_000)
        peer.send(pdus.store_pdus("1.2.20.1", data))
        assert peer.expect_response().status == 0
        assert kept_data_set(node, "1.2.20.1") == data
        peer.release()


@pytest.mark.parametrize("comment", ["x" * 64, "x" * 65, "x" * 300, "é" * 65, "odd"])
def test_a21_error_comment_is_never_longer_than_64_characters(comment: str) -> None:
    request = decode_command(pdus.echo_rq())
    report = StatusReport(Status.FAILURE_0110_PROCESSING_FAILURE, comment)
    value = dict(_elements(encode_response(request, report)))[0x0902]
    assert len(value) <= 64
    assert len(value) % 2 == 0
    assert value.isascii()


def test_a21_error_comment_on_the_wire_is_short(peer: ScriptedPeer) -> None:
    peer.associate()
    peer.send(pdus.store_pdus("1." * 40, b"whatever"))
    response = peer.expect_response()
    assert response.status == 0xC000
    assert 0 < len(response.comment) <= 64


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        _, number, length = struct.unpack_from("<HHI", data, position)
        yield number, data[position + 8 : position + 8 + length]
        position += 8 + length
