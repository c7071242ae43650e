"""Messages that are no request we serve, and messages that are none (PS3.7 6.3, 9.3, C.5; PS3.8 E)."""

import struct
from collections.abc import Iterator

import pytest
from support import pdus
from support.nodes import RunningNode, running_node
from support.scripted_peer import ScriptedPeer

COMMAND_LAST = pdus.COMMAND | pdus.LAST
MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("node")) as running:
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


def command_pdu(command: bytes, context_id: int = 1) -> bytes:
    return pdus.p_data(pdus.pdv(context_id, COMMAND_LAST, command))


@pytest.mark.parametrize(
    "field", [0x0010, 0x0020, 0x0021, 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150, 0x0000, 0x7FFF, 0x0002]
)
def test_command_that_nothing_serves_is_answered_0211(peer: ScriptedPeer, field: int) -> None:
    peer.send(command_pdu(pdus.echo_rq(7, field=field)))
    response = peer.expect_response()
    assert (response.status, response.message_id, response.field) == (0x0211, 7, field | 0x8000)
    assert peer.echo().status == 0


def test_unknown_command_with_a_data_set_is_answered_after_it(peer: ScriptedPeer) -> None:
    command = pdus.command_set(
        [
            (0x0002, pdus.padded(pdus.VERIFICATION)),
            (0x0100, pdus.us(pdus.C_FIND_RQ)),
            (0x0110, pdus.us(7)),
            (0x0800, pdus.us(pdus.DATA_SET)),
        ]
    )
    peer.send(command_pdu(command))
    peer.send(b"".join(pdus.p_data(piece) for piece in pdus.fragments(1, 0, bytes(50_000), 10_000)))
    assert peer.expect_response().status == 0x0211
    assert peer.echo().status == 0


def test_store_on_the_context_of_another_service_is_answered_0211(peer: ScriptedPeer) -> None:
    peer.send(pdus.store_pdus("1.2.3", pdus.ct_data_set("1.2.3"), context_id=1))
    assert peer.expect_response().status == 0x0211


def test_echo_on_a_storage_context_is_answered_0211(peer: ScriptedPeer) -> None:
    peer.send(command_pdu(pdus.echo_rq(), context_id=3))
    assert peer.expect_response().status == 0x0211


def test_sop_class_other_than_the_context_is_answered_0122(node: RunningNode, peer: ScriptedPeer) -> None:
    peer.send(command_pdu(pdus.echo_rq(sop_class_uid=pdus.CT_IMAGE_STORAGE)))
    assert peer.expect_response().status == 0x0122
    data = pdus.ct_data_set("1.2.3")
    peer.send(command_pdu(pdus.store_rq("1.2.3", sop_class_uid=MR_IMAGE_STORAGE), context_id=3))
    peer.send(pdus.p_data(pdus.pdv(3, pdus.LAST, data)))
    response = peer.expect_response()
    assert (response.status, response.elements[0x0002]) == (0x0122, pdus.padded(MR_IMAGE_STORAGE))
    assert node.stored_files() == []


def test_echo_with_a_data_set_is_answered_after_it(peer: ScriptedPeer) -> None:
    command = pdus.command_set(
        [
            (0x0002, pdus.padded(pdus.VERIFICATION)),
            (0x0100, pdus.us(pdus.C_ECHO_RQ)),
            (0x0110, pdus.us(1)),
            (0x0800, pdus.us(pdus.DATA_SET)),
        ]
    )
    peer.send(command_pdu(command) + pdus.p_data(pdus.pdv(1, pdus.LAST, b"unasked")))
    assert peer.expect_response().status == 0


def test_store_without_a_data_set_is_answered_0106(peer: ScriptedPeer) -> None:
    peer.send(command_pdu(pdus.store_rq("1.2.3", data_set_type=pdus.NO_DATA_SET), context_id=3))
    assert peer.expect_response().status == 0x0106


@pytest.mark.parametrize(
    "uid", [b"", b"../../etc/passwd", b"\xff\xfe", b"1." * 100, b"x" * 40_000, b"1.2\0/3", b".."]
)
def test_store_of_what_is_no_uid_is_answered_c000(node: RunningNode, peer: ScriptedPeer, uid: bytes) -> None:
    peer.send(command_pdu(pdus.store_rq(uid), context_id=3) + pdus.p_data(pdus.pdv(3, pdus.LAST, b"data")))
    assert peer.expect_response().status == 0xC000
    assert peer.echo().status == 0
    assert node.stored_files() == []


def test_cancel_of_nothing_is_not_answered(peer: ScriptedPeer) -> None:
    peer.send(command_pdu(pdus.cancel_rq(3)) + command_pdu(pdus.cancel_rq(0)))
    assert peer.echo(4).message_id == 4


def test_command_set_without_group_length_is_understood(peer: ScriptedPeer) -> None:
    peer.send(command_pdu(pdus.echo_rq(5)[12:]))
    assert peer.expect_response().message_id == 5


def test_command_set_with_a_wrong_group_length_is_understood(peer: ScriptedPeer) -> None:
    peer.send(command_pdu(pdus.element(0, struct.pack("<I", 0xFFFF)) + pdus.echo_rq(5)[12:]))
    assert peer.expect_response().message_id == 5


def test_command_set_with_elements_we_do_not_know_is_understood(peer: ScriptedPeer) -> None:
    peer.send(command_pdu(pdus.echo_rq(5) + pdus.element(0x5010, b"x" * 60_000)))
    assert peer.expect_response().message_id == 5


def without(command: bytes, number: int) -> bytes:
    """Return a command set without one of its elements."""
    kept, position = b"", 0
    while position < len(command):
        _, found, length = struct.unpack_from("<HHI", command, position)
        if found != number:
            kept += command[position : position + 8 + length]
        position += 8 + length
    return kept


STORE = pdus.store_rq("1.2.3")
NO_MESSAGE = {
    "context-not-accepted": pdus.p_data(pdus.pdv(5, COMMAND_LAST, pdus.echo_rq())),
    "context-even": pdus.p_data(pdus.pdv(2, COMMAND_LAST, pdus.echo_rq())),
    "context-zero": pdus.p_data(pdus.pdv(0, COMMAND_LAST, pdus.echo_rq())),
    "data-without-command": pdus.p_data(pdus.pdv(3, pdus.LAST, b"data")),
    "data-after-a-command-without": command_pdu(pdus.cancel_rq(1))
    + pdus.p_data(pdus.pdv(1, pdus.LAST, b"x")),
    "data-within-a-command": pdus.p_data(pdus.pdv(3, pdus.COMMAND, STORE[:20]), pdus.pdv(3, 0, b"data")),
    "command-within-data": command_pdu(STORE, 3)
    + pdus.p_data(pdus.pdv(3, 0, b"data"), pdus.pdv(3, COMMAND_LAST, STORE)),
    "command-of-another-context-within-data": command_pdu(STORE, 3) + command_pdu(pdus.echo_rq(), 1),
    "message-on-two-contexts": pdus.p_data(
        pdus.pdv(1, pdus.COMMAND, pdus.echo_rq()[:20]), pdus.pdv(3, COMMAND_LAST, pdus.echo_rq()[20:])
    ),
    "data-on-another-context": command_pdu(STORE, 3) + pdus.p_data(pdus.pdv(1, pdus.LAST, b"data")),
    "response-to-nothing": command_pdu(
        pdus.command_set([(0x0100, b"\x30\x80"), (0x0120, b"\1\0"), (0x0800, b"\1\1")])
    ),
    "response-without-id": command_pdu(pdus.command_set([(0x0100, b"\x30\x80"), (0x0800, b"\1\1")])),
    "no-message-id": command_pdu(without(pdus.echo_rq(), 0x0110)),
    "no-command-field": command_pdu(without(pdus.echo_rq(), 0x0100)),
    "no-data-set-type": command_pdu(without(pdus.echo_rq(), 0x0800)),
    "long-command-field": command_pdu(pdus.command_set([(0x0100, b"\x30\0\0\0"), (0x0800, b"\1\1")])),
    "empty-command": command_pdu(b""),
    "truncated-element-header": command_pdu(pdus.echo_rq()[:-4]),
    "truncated-value": command_pdu(pdus.echo_rq()[:-1]),
    "element-overrun": command_pdu(struct.pack("<HHI", 0, 0x0100, 0xFFFF_FFFF) + b"\x30\0"),
    "other-group": command_pdu(struct.pack("<HHI", 8, 0x0100, 2) + b"\x30\0"),
    "explicit-vr": command_pdu(struct.pack("<HH2sH", 0, 0x0100, b"US", 2) + b"\x30\0"),
    "garbage": command_pdu(bytes(range(256))),
    "zeros": command_pdu(bytes(64)),
    "over-64-kb": b"".join(pdus.p_data(pdus.pdv(1, pdus.COMMAND, bytes(8192))) for _ in range(9)),
}


@pytest.mark.parametrize("stream", NO_MESSAGE.values(), ids=NO_MESSAGE)
def test_what_is_no_message_ends_in_an_abort(node: RunningNode, peer: ScriptedPeer, stream: bytes) -> None:
    peer.send(stream)
    peer.expect_abort(2, 6)
    peer.close()
    assert node.stored_files() == []


@pytest.mark.parametrize("stream", NO_MESSAGE.values(), ids=NO_MESSAGE)
def test_what_is_no_message_behind_a_request_ends_in_an_abort(peer: ScriptedPeer, stream: bytes) -> None:
    peer.send(pdus.echo_pdu() + stream)
    kind, _ = peer.receive()
    if kind == pdus.P_DATA:
        kind, _ = peer.receive()
    assert kind == pdus.ABORT
