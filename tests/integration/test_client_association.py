import asyncio
import socket
import struct
import time
from collections.abc import Sequence
from functools import partial

import pytest
from support import pdus
from support.client_runs import QUICK, Run, peer_of, scripted
from support.client_runs import run as run  # noqa: PLC0414 - a fixture
from support.scripted_peer import ScriptedPeer, parse_command

from pacslite.client.association import Association, open_association
from pacslite.client.echo import echo
from pacslite.client.responses import Response
from pacslite.model.errors import (
    AssociationAbortedError,
    AssociationError,
    AssociationRejectedError,
    AssociationTimeoutError,
    ContextNotAcceptedError,
)
from pacslite.model.instances import InstanceKey
from pacslite.settings.schema import AssociationSettings, PeerSettings
from pacslite.testing import RunningNode
from pacslite.upperlayer.negotiation import ProposedContext

VERIFICATION = ProposedContext(pdus.VERIFICATION, (pdus.IMPLICIT,))
CT = ProposedContext(pdus.CT_IMAGE_STORAGE, (pdus.EXPLICIT,))
KEY = InstanceKey(pdus.CT_IMAGE_STORAGE, "1.2.3.4.5", pdus.EXPLICIT)
IMPATIENT = AssociationSettings(connect_seconds=0.3, artim_seconds=0.3, dimse_seconds=0.3)

open_with = partial(open_association, calling_ae_title="CLIENT")
echo_to = partial(echo, calling_ae_title="CLIENT")


class Data:
    """A data set in memory."""

    def __init__(self, data: bytes, *, readable_bytes: int | None = None) -> None:
        self.data = data
        self.data_set_bytes = len(data)
        self.sent_bytes = 0
        self._readable_bytes = len(data) if readable_bytes is None else readable_bytes

    def fill(self, pieces: Sequence[memoryview], position: int) -> None:
        if position >= self._readable_bytes:
            raise OSError("gone")
        for piece in pieces:
            piece[:] = self.data[position : position + len(piece)]
            position += len(piece)

    def sent(self, byte_count: int) -> None:
        self.sent_bytes += byte_count


def accept_association(peer: ScriptedPeer, *results: tuple[int, int, str], max_length: int = 16384) -> None:
    peer.expect(pdus.ASSOCIATE_RQ)
    items = pdus.max_length(max_length) + pdus.implementation()
    peer.send(pdus.associate_ac(results or [(1, 0, pdus.IMPLICIT), (3, 0, pdus.EXPLICIT)], user_items=items))


def receive_message(peer: ScriptedPeer, *, max_length: int = 16384) -> tuple[dict[int, bytes], bytes]:
    """Return command and data set of a C-STORE-RQ, or of a request without data set."""
    parts = {0: b"", 1: b""}
    done: set[int] = set()
    while True:
        body = peer.expect(pdus.P_DATA)
        assert len(body) <= max_length
        length, _, control = struct.unpack_from(">IBB", body)
        assert length == len(body) - 4
        parts[control & 1] += body[6:]
        if control & pdus.LAST:
            done.add(control & 1)
        command = parse_command(parts[1]) if 1 in done else {}
        if 0 in done or command.get(0x0800) == pdus.us(pdus.NO_DATA_SET):
            return command, parts[0]


def respond(
    peer: ScriptedPeer,
    request: dict[int, bytes],
    *,
    status: bytes = b"\0\0",
    field: int = 0,
    context_id: int = 1,
) -> None:
    (asked,) = struct.unpack("<H", request[0x0100])
    elements = [
        (0x0100, pdus.us(field or asked | 0x8000)),
        (0x0120, request[0x0110]),
        (0x0800, pdus.us(pdus.NO_DATA_SET)),
        (0x0900, status),
    ]
    peer.send(pdus.p_data(pdus.pdv(context_id, 3, pdus.command_set(elements))))


async def store(peer: PeerSettings, data: Data, settings: AssociationSettings = QUICK) -> Response:
    async with open_with(peer, [VERIFICATION, CT], settings=settings) as association:
        return await association.store(KEY, data)


# Our own node


def test_echo_tells_how_long_it_took(pacs: RunningNode, run: Run) -> None:
    result = run(echo_to(peer_of(pacs), settings=QUICK))
    assert result.status == 0
    assert 0 < result.round_trip_seconds < 2
    assert 0 < result.association_seconds < 2


@pytest.mark.parametrize("size", [1, 2, 70_000, 3_000_000])
def test_a_data_set_arrives_byte_for_byte(pacs: RunningNode, run: Run, size: int) -> None:
    data = Data(pdus.ct_data_set(KEY.sop_instance_uid, size))
    response = run(store(peer_of(pacs), data))
    assert (response.is_success, response.is_warning) == (True, False)
    (received,) = pacs.received
    assert received.path.read_bytes().endswith(data.data)
    assert received.provenance.calling_ae_title == "CLIENT"
    assert data.sent_bytes == len(data.data)


def test_requests_of_one_association_take_turns(pacs: RunningNode, run: Run) -> None:
    async def many() -> None:
        async with open_with(peer_of(pacs), [VERIFICATION, CT], settings=QUICK) as association:
            assert {context.abstract_syntax for context in association.accepted_contexts} == {
                pdus.VERIFICATION,
                pdus.CT_IMAGE_STORAGE,
            }
            datasets = [pdus.ct_data_set(f"1.2.3.{number}", 500_000) for number in range(4)]
            keys = [InstanceKey(KEY.sop_class_uid, f"1.2.3.{n}", KEY.transfer_syntax_uid) for n in range(4)]
            stores = [association.store(key, Data(data)) for key, data in zip(keys, datasets, strict=True)]
            responses = await asyncio.gather(*stores, association.echo())
            assert all(response.is_success for response in responses)

    run(many())
    assert len(pacs.received) == 4


def test_a_refusal_comes_with_its_comment(pacs: RunningNode, run: Run) -> None:
    response = run(store(peer_of(pacs), Data(pdus.ct_data_set("1.2.3.9"))))
    assert response.status == 0xA900
    assert response.comment
    assert not response.is_success
    assert not response.is_warning


# Peers that let no association come about


def test_nobody_listens(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    peer = PeerSettings(name="x", ae_title="PEER", host="127.0.0.1", port=port)
    with pytest.raises(AssociationError, match=f"PEER@127.0.0.1:{port}: .*refused"):
        run(echo_to(peer, settings=QUICK))


def test_the_peer_rejects(run: Run) -> None:
    def reject(peer: ScriptedPeer) -> None:
        peer.expect(pdus.ASSOCIATE_RQ)
        peer.send(pdus.associate_rj(2, 3, 2))
        peer.drain()

    with scripted(reject) as peer, pytest.raises(AssociationRejectedError) as caught:
        run(echo_to(peer, settings=QUICK))
    assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 2)


def test_the_peer_is_mute(run: Run) -> None:
    def stay_mute(peer: ScriptedPeer) -> None:
        peer.expect(pdus.ASSOCIATE_RQ)
        peer.expect_abort(0, 0)
        peer.expect_closed()

    started_at = time.monotonic()
    with scripted(stay_mute) as peer, pytest.raises(AssociationTimeoutError, match="did not answer in time"):
        run(echo_to(peer, settings=IMPATIENT))
    assert time.monotonic() - started_at < 2


@pytest.mark.parametrize(
    "answer", [pdus.abort(2, 1), b"", pdus.pdu(pdus.ASSOCIATE_AC, b"\0" * 10), b"HTTP/1.1"]
)
def test_the_peer_answers_with_something_else(run: Run, answer: bytes) -> None:
    def answer_so(peer: ScriptedPeer) -> None:
        peer.expect(pdus.ASSOCIATE_RQ)
        peer.send(answer)
        if not answer:
            peer.reset()
        else:
            peer.drain()

    with scripted(answer_so) as peer, pytest.raises(AssociationAbortedError, match=r"^PEER@127\.0\.0\.1"):
        run(echo_to(peer, settings=QUICK))


def test_asking_is_given_up_cleanly(run: Run) -> None:
    def stay_mute(peer: ScriptedPeer) -> None:
        peer.expect(pdus.ASSOCIATE_RQ)
        peer.expect_abort(0, 0)
        peer.expect_closed()

    async def give_up(peer: PeerSettings) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await echo_to(peer, settings=QUICK)

    with scripted(stay_mute) as peer:
        run(give_up(peer))


@pytest.mark.parametrize("count", [0, 129])
def test_contexts_must_fit_on_one_association(run: Run, count: int) -> None:
    async def ask() -> None:
        peer = PeerSettings(name="x", ae_title="X", host="127.0.0.1", port=1)
        async with open_with(peer, [CT] * count, settings=QUICK):
            pass

    with pytest.raises(ValueError, match="1 to 128 presentation contexts"):
        run(ask())


# Peers that accept


def test_a_block_that_ends_well_releases(run: Run) -> None:
    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer)
        respond(peer, receive_message(peer)[0])
        peer.expect(pdus.RELEASE_RQ)
        peer.send(pdus.release_rp())
        peer.expect_closed()

    with scripted(serve) as peer:
        assert run(echo_to(peer, settings=QUICK)).status == 0


def test_a_block_that_raises_aborts(run: Run) -> None:
    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer)
        peer.expect_abort(0, 0)
        peer.expect_closed()

    async def fail(peer: PeerSettings) -> None:
        async with open_with(peer, [VERIFICATION], settings=QUICK):
            raise LookupError("of the caller's")

    with scripted(serve) as peer, pytest.raises(LookupError):
        run(fail(peer))


@pytest.mark.parametrize("farewell", [b"", pdus.abort(), pdus.release_rq()])
def test_a_peer_that_does_not_release_is_not_insisted_on(run: Run, farewell: bytes) -> None:
    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer)
        respond(peer, receive_message(peer)[0])
        peer.expect(pdus.RELEASE_RQ)
        peer.send(farewell)
        peer.drain()

    started_at = time.monotonic()
    with scripted(serve) as peer:
        assert run(echo_to(peer, settings=IMPATIENT)).status == 0
    assert time.monotonic() - started_at < 3


def test_no_context_is_accepted(run: Run) -> None:
    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer, (1, 3, ""), (3, 4, ""))
        peer.expect(pdus.ABORT)

    with scripted(serve) as peer, pytest.raises(ContextNotAcceptedError, match=pdus.VERIFICATION):
        run(echo_to(peer, settings=QUICK))


def test_a_context_that_is_not_accepted_leaves_the_association_in_use(run: Run) -> None:
    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer, (1, 0, pdus.IMPLICIT), (3, 4, ""))
        respond(peer, receive_message(peer)[0])
        peer.expect(pdus.RELEASE_RQ)
        peer.send(pdus.release_rp())

    async def both(peer: PeerSettings) -> None:
        async with open_with(peer, [VERIFICATION, CT], settings=QUICK) as association:
            with pytest.raises(ContextNotAcceptedError, match=pdus.EXPLICIT):
                await association.store(KEY, Data(b"\0\0"))
            assert (await association.echo()).is_success

    with scripted(serve) as peer:
        run(both(peer))


@pytest.mark.parametrize("max_length", [0, 12, 13, 16384, 1 << 31])
def test_no_pdu_is_longer_than_the_peer_takes(run: Run, max_length: int) -> None:
    data = Data(bytes(range(256)) * (40 if max_length in (12, 13) else 9_000))
    messages: list[tuple[dict[int, bytes], bytes]] = []

    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer, max_length=max_length)
        message = receive_message(peer, max_length=min(max_length or 1 << 31, 128 * 1024))
        messages.append(message)
        respond(peer, message[0], context_id=3)
        peer.expect(pdus.RELEASE_RQ)
        peer.send(pdus.release_rp())

    with scripted(serve) as peer:
        assert run(store(peer, data)).is_success
    command, received = messages[0]
    assert received == data.data
    assert command[0x1000] == pdus.padded(KEY.sop_instance_uid)
    assert command[0x0002] == pdus.padded(KEY.sop_class_uid)


@pytest.mark.parametrize(("status", "is_warning"), [(0xB000, True), (0x0107, True), (0xA700, False)])
def test_warnings_are_told_from_failures(run: Run, status: int, is_warning: bool) -> None:  # noqa: FBT001 - a case
    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer)
        respond(peer, receive_message(peer)[0], status=pdus.us(status), context_id=3)
        peer.expect(pdus.RELEASE_RQ)
        peer.send(pdus.release_rp())

    with scripted(serve) as peer:
        response = run(store(peer, Data(b"\0" * 100)))
    assert (response.status, response.is_warning, response.is_success) == (status, is_warning, False)


# Peers that fail in the middle


def test_no_response_comes(run: Run) -> None:
    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer)
        receive_message(peer)
        peer.expect_abort(0, 0)
        peer.expect_closed()

    with (
        scripted(serve) as peer,
        pytest.raises(AssociationTimeoutError, match=r"PEER@.*: no response within 0\.3 s"),
    ):
        run(echo_to(peer, settings=IMPATIENT))


@pytest.mark.parametrize("farewell", [pdus.abort(2, 2), pdus.release_rq(), b"\xff" * 10, b""])
def test_the_peer_leaves_instead_of_answering(run: Run, farewell: bytes) -> None:
    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer)
        receive_message(peer)
        peer.send(farewell)
        if farewell:
            peer.drain()

    with scripted(serve) as peer, pytest.raises(AssociationAbortedError, match=r"^PEER@"):
        run(echo_to(peer, settings=QUICK))


@pytest.mark.parametrize("kind", ["abort", "reset", "close"])
def test_the_peer_leaves_in_the_middle_of_a_data_set(run: Run, kind: str) -> None:
    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer)
        peer.expect(pdus.P_DATA)
        if kind == "abort":
            peer.send(pdus.abort())
        elif kind == "reset":
            peer.reset()

    with scripted(serve) as peer, pytest.raises(AssociationAbortedError, match=r"^PEER@"):
        run(store(peer, Data(bytes(30_000_000))))


def test_the_peer_never_reads(run: Run) -> None:
    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer)
        deadline = time.monotonic() + 5
        peer.socket.setblocking(False)  # noqa: FBT003 - the socket's own
        while time.monotonic() < deadline and _is_open(peer.socket):
            time.sleep(0.02)

    started_at = time.monotonic()
    data = Data(bytes(60_000_000))
    with scripted(serve) as peer, pytest.raises(AssociationTimeoutError, match="takes no data"):
        run(store(peer, data, IMPATIENT))
    assert time.monotonic() - started_at < 5
    assert data.sent_bytes < 60_000_000


def _is_open(connection: socket.socket) -> bool:
    """Whether the other end still holds the connection, found out without reading (Linux)."""
    established = 1
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == established


def test_an_early_failure_is_the_answer(run: Run) -> None:
    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer)
        request = parse_command(peer.expect(pdus.P_DATA)[6:])
        respond(peer, request, status=pdus.us(0xA700), context_id=3)
        while True:
            kind, _ = peer.receive()
            if kind == pdus.RELEASE_RQ:
                peer.send(pdus.release_rp())
                return

    data = Data(bytes(5_000_000))
    with scripted(serve) as peer:
        assert run(store(peer, data)).status == 0xA700
    assert data.sent_bytes == len(data.data)


@pytest.mark.parametrize("choices", [{"field": 0x8001}, {"status": b""}])
def test_an_unusable_response_ends_the_association(run: Run, choices: dict[str, int]) -> None:
    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer)
        respond(peer, receive_message(peer)[0], **choices)  # type: ignore[arg-type] # one of either
        peer.expect_abort(0, 0)

    with scripted(serve) as peer, pytest.raises(AssociationAbortedError, match=r"^PEER@"):
        run(echo_to(peer, settings=QUICK))


@pytest.mark.parametrize("readable_bytes", [0, 1_500_000])
def test_a_data_set_that_cannot_be_read(run: Run, readable_bytes: int) -> None:
    """Before the message was begun, the association goes on; within it, the peer sees an abort."""

    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer)
        kind = pdus.P_DATA
        while kind == pdus.P_DATA:
            kind, _ = peer.receive()
        assert kind == (pdus.ABORT if readable_bytes else pdus.RELEASE_RQ)
        if kind == pdus.RELEASE_RQ:
            peer.send(pdus.release_rp())

    async def fail(peer: PeerSettings) -> bool:
        async with open_with(peer, [VERIFICATION, CT], settings=QUICK) as association:
            with pytest.raises(OSError, match="gone"):
                await association.store(KEY, Data(bytes(5_000_000), readable_bytes=readable_bytes))
            return association.is_open

    with scripted(serve) as peer:
        assert run(fail(peer)) == (readable_bytes == 0)


def test_cancelled_in_the_middle_the_peer_sees_an_abort(run: Run) -> None:
    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer)
        kind = pdus.P_DATA
        while kind == pdus.P_DATA:
            kind, _ = peer.receive()
        assert kind == pdus.ABORT
        peer.expect_closed()

    class Slow(Data):
        def fill(self, pieces: Sequence[memoryview], position: int) -> None:
            super().fill(pieces, position)
            if position:
                time.sleep(0.3)

    async def cancel(peer: PeerSettings) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await store(peer, Slow(bytes(5_000_000)))

    with scripted(serve) as peer:
        run(cancel(peer))


def test_asking_on_an_association_that_has_ended(run: Run) -> None:
    def serve(peer: ScriptedPeer) -> None:
        accept_association(peer)
        receive_message(peer)
        peer.send(pdus.abort())
        peer.drain()

    async def ask_again(association: Association) -> None:
        for _ in range(2):
            with pytest.raises(AssociationAbortedError):
                await association.echo()
            assert not association.is_open

    async def ask(peer: PeerSettings) -> None:
        async with open_with(peer, [VERIFICATION], settings=QUICK) as association:
            await ask_again(association)

    with scripted(serve) as peer:
        run(ask(peer))
