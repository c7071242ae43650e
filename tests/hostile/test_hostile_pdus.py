"""Bytes that mean harm: the node aborts or closes, keeps its memory, and serves the honest (X-PDU)."""

import random
import socket
import struct
import time
from collections.abc import Iterable, Iterator

import psutil
import pytest
from support import pdus
from support.nodes import RunningNode, running_node
from support.scripted_peer import PeerError, ScriptedPeer

from pacslite.settings.schema import AssociationSettings

MIB = 1024 * 1024
LENGTHS = [0, 1, 3, 4, 5, 67, 68, 69, 131_072, 131_073, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF]
ALLOWED_GROWTH_BYTES = 64 * MIB

ASSOCIATION = pdus.associate_rq()
CONVERSATION = (
    pdus.echo_pdu()
    + pdus.store_pdus("1.2.3.4", pdus.ct_data_set("1.2.3.4"), size=100)
    + pdus.echo_pdu(message_id=2)
    + pdus.release_rq()
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    limits = AssociationSettings(
        artim_seconds=0.5, idle_seconds=0.5, dimse_seconds=0.5, max_associations=2000, max_half_open=2000
    )
    with running_node(tmp_path_factory.mktemp("node"), association=limits) as running:
        yield running


@pytest.fixture(autouse=True)
def _healthy(node: RunningNode) -> Iterator[None]:
    with node.healthy():
        yield
    node.wait_for_connections(0)


@pytest.fixture
def _memory_is_kept() -> Iterator[None]:
    process = psutil.Process()
    before = process.memory_info().rss
    yield
    assert process.memory_info().rss - before < ALLOWED_GROWTH_BYTES


def say(node: RunningNode, *streams: bytes) -> bytes:
    """Send each of `streams` once the one before was answered, then nothing more; return the last answer."""
    with ScriptedPeer.connect(node.address) as peer:
        for stream in streams[:-1]:
            peer.send(stream)
            peer.receive()
        try:
            peer.send(streams[-1])
            peer.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return b""  # closed while we still spoke
        return peer.drain()


def expect_end(node: RunningNode, *streams: bytes) -> None:
    """Check that the last of `streams` brings an A-ABORT, or the end of the connection, while we wait."""
    with ScriptedPeer.connect(node.address) as peer:
        for stream in streams[:-1]:
            peer.send(stream)
            peer.receive()
        try:
            peer.send(streams[-1])
            kind, _ = peer.receive()
        except (PeerError, ConnectionError):
            return
        assert kind == pdus.ABORT


@pytest.mark.parametrize("is_associated", [False, True])
def test_every_pdu_type_without_meaning_is_aborted(node: RunningNode, *, is_associated: bool) -> None:
    before = [ASSOCIATION] if is_associated else []
    for kind in [0, *range(8, 256)]:
        expect_end(node, *before, bytes((kind,)))


@pytest.mark.usefixtures("_memory_is_kept")
@pytest.mark.parametrize("is_associated", [False, True])
def test_every_type_with_every_length_ends(node: RunningNode, *, is_associated: bool) -> None:
    before = [ASSOCIATION] if is_associated else []
    for kind in range(10):
        for length in LENGTHS:
            say(node, *before, pdus.pdu(kind, bytes(min(length, 70)), length=length))


@pytest.mark.usefixtures("_memory_is_kept")
def test_memory_does_not_grow_by_what_is_declared(node: RunningNode) -> None:
    peers = [ScriptedPeer.connect(node.address) for _ in range(300)]
    for number, peer in enumerate(peers):
        if number % 2:
            peer.associate()
        kind = pdus.P_DATA if number % 2 else pdus.ASSOCIATE_RQ
        length = 131_072 if number % 2 else MIB
        peer.send(pdus.pdu(kind, struct.pack(">IBB", 131_068, 3, 0), length=length))
    for peer in peers:
        peer.drain()
        peer.close()


@pytest.mark.usefixtures("_memory_is_kept")
def test_stream_behind_an_abort_is_dropped(node: RunningNode) -> None:
    with ScriptedPeer.connect(node.address) as peer:
        peer.send(pdus.pdu(pdus.ASSOCIATE_RQ, b"", length=0xFFFF_FFFF))
        peer.expect_abort(2, 6)
        with pytest.raises(ConnectionError):  # noqa: PT012 - which write meets the closed connection is open
            for _ in range(2000):
                peer.send(bytes(MIB))


def test_association_cut_at_every_byte_ends_in_time(node: RunningNode) -> None:
    peers = [ScriptedPeer.connect(node.address) for _ in range(len(ASSOCIATION))]
    for length, peer in enumerate(peers):
        peer.send(ASSOCIATION[:length])
    started = time.monotonic()
    for peer in peers:
        peer.expect_closed()
        peer.close()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("batch", range(4))
def test_conversation_cut_at_every_byte_ends_in_time(node: RunningNode, batch: int) -> None:
    lengths = range(batch, len(CONVERSATION), 4)
    peers = [ScriptedPeer.connect(node.address) for _ in lengths]
    for length, peer in zip(lengths, peers, strict=True):
        peer.send(ASSOCIATION + CONVERSATION[:length])
    for peer in peers:
        peer.drain()
        peer.close()


@pytest.mark.parametrize("length", [0, 1, 3, 131_072, 131_073, 0x8000_0000, 0xFFFF_FFFF])
def test_pdv_length_that_does_not_fit_is_aborted(node: RunningNode, length: int) -> None:
    with ScriptedPeer.connect(node.address) as peer:
        peer.associate()
        peer.send(pdus.pdu(pdus.P_DATA, pdus.pdv(1, 3, b"", length=length)))
        peer.expect_abort(2, 6)


@pytest.mark.parametrize("trailing", range(1, 6))
def test_pdu_with_a_broken_pdv_header_does_not_swallow_the_next(node: RunningNode, trailing: int) -> None:
    with ScriptedPeer.connect(node.address) as peer:
        peer.associate()
        peer.send(pdus.p_data(pdus.pdv(1, 3, pdus.echo_rq()), bytes(trailing)) + pdus.echo_pdu())
        answers = [peer.receive()[0]]
        if answers == [pdus.P_DATA]:
            answers.append(peer.receive()[0])
        assert answers[-1] == pdus.ABORT


def many_syntaxes(count: int) -> bytes:
    return pdus.context(1, pdus.CT_IMAGE_STORAGE, *(f"1.2.3.{number}" for number in range(count)))


REQUESTS = {
    "4000-transfer-syntaxes": [many_syntaxes(4000)],
    "16000-empty-transfer-syntaxes": [pdus.context(1, pdus.CT_IMAGE_STORAGE, *[b""] * 16_000)],
    "128-contexts-of-400-syntaxes": [
        pdus.context(number, pdus.CT_IMAGE_STORAGE, *(f"1.2.{syntax}" for syntax in range(400)))
        for number in range(1, 256, 2)
    ],
    "40000-unknown-items": [pdus.item(0x99, b"")] * 40_000,
    "10000-contexts": [pdus.context(1, "1.2")] * 10_000,
    "10000-user-items": [pdus.item(0x50, pdus.item(0x54, b"\0\x031.2\1\1") * 5000)] * 12,
    "megabyte-of-context": [pdus.context(1, "1.2", b"9" * 60_000)] * 16,
}


@pytest.mark.usefixtures("_memory_is_kept")
@pytest.mark.parametrize("contexts", REQUESTS.values(), ids=REQUESTS)
def test_enormous_association_request_is_answered(node: RunningNode, contexts: list[bytes]) -> None:
    request = pdus.associate_rq(contexts)
    for _ in range(5):
        with ScriptedPeer.connect(node.address) as peer:
            peer.send(request)
            kind, _ = peer.receive()
            assert kind in (pdus.ASSOCIATE_AC, pdus.ABORT)


def overlong_items() -> Iterable[bytes]:
    """Return the association request with each of its items' lengths made too long, or too short."""
    body = ASSOCIATION[74:]
    for position in range(len(body) - 3):
        for length in (0, 1, 0x7FFF, 0xFFFF):
            changed = body[: position + 2] + struct.pack(">H", length) + body[position + 4 :]
            yield pdus.pdu(pdus.ASSOCIATE_RQ, ASSOCIATION[6:74] + changed)


def test_association_request_with_any_length_field_wrong_is_answered(node: RunningNode) -> None:
    kinds = {say(node, request)[0] for request in overlong_items()}
    assert kinds <= {pdus.ASSOCIATE_AC, pdus.ASSOCIATE_RJ, pdus.ABORT}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("is_associated", [False, True])
def test_random_bytes_end_the_connection(node: RunningNode, seed: int, *, is_associated: bool) -> None:
    source = random.Random(seed)
    before = [ASSOCIATION] if is_associated else []
    for _ in range(100):
        kind = source.randrange(1, 9)
        stream = source.randbytes(source.randrange(1, 300))
        say(node, *before, stream)
        say(node, *before, pdus.pdu(kind, stream))


@pytest.mark.parametrize("seed", range(8))
def test_mutated_conversation_does_no_harm(node: RunningNode, seed: int) -> None:
    source = random.Random(seed)
    for _ in range(100):
        stream = bytearray(ASSOCIATION + CONVERSATION)
        for _ in range(source.randrange(1, 6)):
            place = source.randrange(len(stream))
            match source.randrange(3):
                case 0:
                    stream[place] = source.randrange(256)
                case 1:
                    del stream[place : place + source.randrange(1, 8)]
                case _:
                    stream[place:place] = source.randbytes(source.randrange(1, 8))
        say(node, bytes(stream))
