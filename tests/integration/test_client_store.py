import asyncio
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from support import pdus
from support.client_runs import QUICK, Results, Run, peer_of, scripted, send
from support.client_runs import run as run  # noqa: PLC0414 - a fixture
from support.dcmtk import needs_dcmtk
from support.real_files import distinct_files
from support.scripted_peer import ScriptedPeer, parse_command

from pacslite.client import store
from pacslite.client.echo import echo
from pacslite.client.store import SendSummary, Verdict
from pacslite.media.files import find_files, read_instance_file
from pacslite.model.errors import AssociationError, AssociationRejectedError
from pacslite.settings.schema import PeerSettings
from pacslite.testing import RunningNode, make_instance, make_study, running_node, write_instance

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def write_study(folder: Path, count: int = 3, *, side: int = 64) -> list[Path]:
    instances = make_study(instances_per_series=count, side=side)
    return [write_instance(folder / f"{number:04}.dcm", each) for number, each in enumerate(instances)]


def data_set(path: Path) -> bytes:
    return path.read_bytes()[read_instance_file(path).data_set_offset :]


# Our own node


@pytest.mark.parametrize("association_count", [1, 3])
def test_files_arrive_byte_for_byte(
    pacs: RunningNode, run: Run, tmp_path: Path, association_count: int
) -> None:
    paths = write_study(tmp_path, 7, side=100)
    listener = Results()
    summary = run(send(peer_of(pacs), [tmp_path], listener, association_count=association_count))
    assert summary == SendSummary(Counter({Verdict.STORED: 7}))
    assert listener.verdicts == summary.counts
    assert {result.path for result in listener.results} == set(paths)
    assert all(result.status == 0 for result in listener.results)
    received = {item.sop_instance_uid: item for item in pacs.received}
    for result in listener.results:
        assert result.key is not None
        assert data_set(received[result.key.sop_instance_uid].path) == data_set(result.path)
    associations = {item.provenance.association_id for item in pacs.received}
    assert len(associations) <= association_count
    assert listener.sent_bytes == sum(len(data_set(path)) for path in paths)


def test_each_file_keeps_its_transfer_syntax(pacs: RunningNode, run: Run) -> None:
    """Real files, compressed and not; none of them costs the association."""
    files = distinct_files()
    listener = Results()
    run(send(peer_of(pacs), [file.path for file in files], listener))
    by_uid = {item.sop_instance_uid: item for item in pacs.received}
    stored = [result for result in listener.results if result.verdict is Verdict.STORED]
    assert len(stored) > 150
    for result in stored:
        assert result.key is not None
        received = by_uid[result.key.sop_instance_uid]
        assert received.transfer_syntax_uid == result.key.transfer_syntax_uid
        assert data_set(received.path) == data_set(result.path)
    refused = [result for result in listener.results if result.verdict is not Verdict.STORED]
    assert all(result.reason or result.status for result in refused)
    assert len({item.provenance.association_id for item in pacs.received}) == 1


def test_more_pairs_than_one_association_has_contexts(pacs_factory: object, run: Run, tmp_path: Path) -> None:
    """A8: 150 SOP classes take two associations."""
    for number in range(150):
        write_instance(tmp_path / f"{number:03}.dcm", make_instance(side=2, SOPClassUID=f"1.2.3.{number}"))
    assert callable(pacs_factory)
    node: RunningNode = pacs_factory(archives=[{"accept_unknown_sop_classes": True}])
    summary = run(send(peer_of(node), [tmp_path], Results()))
    assert summary.counts == {Verdict.STORED: 150}
    assert len({item.provenance.association_id for item in node.received}) == 2


def test_bare_data_sets_are_sent(pacs: RunningNode, run: Run, tmp_path: Path) -> None:
    for syntax in (IMPLICIT, EXPLICIT):
        path = write_instance(tmp_path / syntax, transfer_syntax_uid=syntax)
        path.write_bytes(data_set(path))
    assert run(send(peer_of(pacs), [tmp_path], Results())).counts == {Verdict.STORED: 2}
    assert {item.transfer_syntax_uid for item in pacs.received} == {IMPLICIT, EXPLICIT}


def test_every_file_has_a_verdict(pacs: RunningNode, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    good = write_instance(folder / "deep" / "good.dcm")
    (folder / "notes.txt").write_text("not DICOM")
    shutil.copy(folder / "notes.txt", tmp_path / "named.txt")
    cut = folder / "cut.dcm"
    cut.write_bytes(good.read_bytes()[:160])
    lying = write_instance(folder / "lying.dcm", make_instance(StudyInstanceUID=""))
    listener = Results()
    summary = run(send(peer_of(pacs), [folder, tmp_path / "named.txt", tmp_path / "missing"], listener))
    told = {result.path.name: (result.verdict, result.reason, result.status) for result in listener.results}
    assert told["good.dcm"] == (Verdict.STORED, "", 0)
    assert told["notes.txt"] == (Verdict.SKIPPED, "not DICOM", None)
    assert told["named.txt"] == (Verdict.FAILED, "not DICOM", None)
    assert told["cut.dcm"] == (Verdict.FAILED, "it does not say what instance it holds", None)
    assert told["missing"] == (Verdict.FAILED, "No such file or directory", None)
    assert told["lying.dcm"][0] is Verdict.FAILED
    assert told["lying.dcm"][1]
    assert told["lying.dcm"][2] == 0xC000
    assert lying.exists()
    assert summary.counts == {Verdict.STORED: 1, Verdict.SKIPPED: 1, Verdict.FAILED: 4}


def test_a_node_with_room_for_one_association_gets_one(run: Run, tmp_path: Path) -> None:
    write_study(tmp_path, 12)
    with running_node(association={"max_associations": 1}) as node:
        summary = run(send(peer_of(node), [tmp_path], Results(), association_count=4))
        assert summary == SendSummary(Counter({Verdict.STORED: 12}))


def test_files_are_found_in_order(tmp_path: Path) -> None:
    names = ["b/2", "b/10", "a", "c/d/e"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = list(find_files([tmp_path / "b" / "2", tmp_path]))
    relative = [(str(path.relative_to(tmp_path)), is_named) for path, is_named in found]
    assert relative == [("b/2", True), ("a", False), ("b/10", False), ("b/2", False), ("c/d/e", False)]


def test_nothing_to_send_asks_for_no_association(run: Run, tmp_path: Path) -> None:
    peer = PeerSettings(name="x", ae_title="X", host="127.0.0.1", port=1)
    assert run(send(peer, [tmp_path], Results())) == SendSummary()


# Peers that fail


@contextmanager
def short_pauses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "RETRY_SECONDS", 0.01)
        yield


def serve_stores(peer: ScriptedPeer, *, count: int = 1000, status: int = 0, max_length: int = 131072) -> None:
    """Accept every context and answer so many C-STORE requests, or until the release."""
    request = peer.expect(pdus.ASSOCIATE_RQ)
    proposed = request.count(b"\x20\x00")
    items = pdus.max_length(max_length) + pdus.implementation()
    results = [(2 * number + 1, 0, EXPLICIT) for number in range(proposed)]
    peer.send(pdus.associate_ac(results[:1], user_items=items))
    for _ in range(count):
        kind, body = peer.receive()
        if kind == pdus.RELEASE_RQ:
            peer.send(pdus.release_rp())
            return
        assert kind == pdus.P_DATA
        command = parse_command(body[6:])
        while body[5] != pdus.LAST:
            body = peer.expect(pdus.P_DATA)
        response = [
            (0x0100, pdus.us(pdus.C_STORE_RSP)),
            (0x0120, command[0x0110]),
            (0x0800, pdus.us(pdus.NO_DATA_SET)),
            (0x0900, pdus.us(status)),
            (0x0902, b"told why"),
        ]
        peer.send(pdus.p_data(pdus.pdv(1, 3, pdus.command_set(response))))


def die_in(count: int, how: bytes = b"") -> partial[None]:
    """Return a script that answers so many requests, and leaves in the middle of the next one."""

    def script(peer: ScriptedPeer) -> None:
        serve_stores(peer, count=count)
        peer.receive()
        if how:
            peer.send(how)
            peer.drain()
        else:
            peer.reset()

    return partial(script)


def test_a_status_is_told_with_its_comment(run: Run, tmp_path: Path) -> None:
    write_study(tmp_path, 1)
    for status, verdict in ((0xB007, Verdict.WARNING), (0xA700, Verdict.FAILED)):
        listener = Results()
        with scripted(partial(serve_stores, status=status)) as peer:
            summary = run(send(peer, [tmp_path], listener))
        (result,) = listener.results
        assert (result.verdict, result.status, result.reason) == (verdict, status, "told why")
        assert summary.error is None


@pytest.mark.parametrize("how", [b"", pdus.abort(), pdus.release_rq()])
def test_a_lost_association_is_asked_for_again(run: Run, tmp_path: Path, how: bytes) -> None:
    paths = write_study(tmp_path, 6)
    listener = Results()
    with short_pauses(), scripted(die_in(2, how), die_in(1, how), serve_stores) as peer:
        summary = run(send(peer, [tmp_path], listener))
    assert summary == SendSummary(Counter({Verdict.STORED: 6}))
    assert [result.path for result in listener.results] == paths


def test_a_file_that_costs_two_associations_is_given_up(run: Run, tmp_path: Path) -> None:
    paths = write_study(tmp_path, 3)
    listener = Results()
    with short_pauses(), scripted(die_in(1), die_in(0), serve_stores) as peer:
        summary = run(send(peer, [tmp_path], listener))
    assert summary.counts == {Verdict.STORED: 2, Verdict.FAILED: 1}
    assert summary.error is None
    failed = [result for result in listener.results if result.verdict is Verdict.FAILED]
    assert [result.path for result in failed] == [paths[1]]
    assert "PEER@" in failed[0].reason


def test_a_peer_that_loses_every_association_is_given_up(run: Run, tmp_path: Path) -> None:
    paths = write_study(tmp_path, 8)
    listener = Results()
    with short_pauses(), scripted(*[die_in(0)] * store.MAX_LOSSES) as peer:
        summary = run(send(peer, [tmp_path], listener))
    assert summary.counts == {Verdict.FAILED: 8}
    assert isinstance(summary.error, AssociationError)
    assert {result.path for result in listener.results} == set(paths)
    assert sum(result.reason.startswith("not sent: ") for result in listener.results) == 6


def test_a_peer_that_lets_nobody_in_is_told_at_once(run: Run, tmp_path: Path) -> None:
    def reject(peer: ScriptedPeer) -> None:
        peer.expect(pdus.ASSOCIATE_RQ)
        peer.send(pdus.associate_rj(1, 1, 7))
        peer.drain()

    write_study(tmp_path, 3)
    listener = Results()
    with scripted(reject) as peer, pytest.raises(AssociationRejectedError):
        run(send(peer, [tmp_path], listener))
    assert listener.results == []


def test_a_peer_that_accepts_no_context(run: Run, tmp_path: Path) -> None:
    def accept_none(peer: ScriptedPeer) -> None:
        peer.expect(pdus.ASSOCIATE_RQ)
        peer.send(pdus.associate_ac([(1, 3, "")]))
        peer.expect(pdus.RELEASE_RQ)
        peer.send(pdus.release_rp())

    write_study(tmp_path, 3)
    listener = Results()
    with scripted(accept_none) as peer:
        summary = run(send(peer, [tmp_path], listener))
    assert summary == SendSummary(Counter({Verdict.FAILED: 3}))
    assert all("does not accept" in result.reason for result in listener.results)


def test_a_mute_peer_costs_its_file_only(run: Run, tmp_path: Path) -> None:
    def hold(peer: ScriptedPeer) -> None:
        peer.expect(pdus.ASSOCIATE_RQ)
        peer.send(pdus.associate_ac([(1, 0, EXPLICIT)]))
        peer.drain()

    write_study(tmp_path, 2)
    impatient = QUICK.model_copy(update={"dimse_seconds": 0.2})
    with short_pauses(), scripted(hold, hold, serve_stores) as peer:
        summary = run(send(peer, [tmp_path], Results(), settings=impatient))
    assert summary.counts == {Verdict.STORED: 1, Verdict.FAILED: 1}


def test_a_file_that_shrinks_while_it_is_sent(run: Run, tmp_path: Path) -> None:
    """The peer sees an abort in place of an instance of two halves; the next file is sent all the same."""
    big = write_instance(tmp_path / "a.dcm", size_bytes=8_000_000)
    write_instance(tmp_path / "b.dcm")

    def shrink(peer: ScriptedPeer) -> None:
        peer.expect(pdus.ASSOCIATE_RQ)
        peer.send(pdus.associate_ac([(1, 0, EXPLICIT)], user_items=pdus.max_length(16384)))
        peer.expect(pdus.P_DATA)
        big.write_bytes(big.read_bytes()[:5_000_000])
        kind = pdus.P_DATA
        while kind == pdus.P_DATA:
            kind, _ = peer.receive()
        assert kind == pdus.ABORT

    listener = Results()
    with short_pauses(), scripted(shrink, serve_stores) as peer:
        run(send(peer, [tmp_path], listener))
    told = {result.path.name: (result.verdict, result.reason) for result in listener.results}
    assert told == {
        "a.dcm": (Verdict.FAILED, "the file was changed meanwhile"),
        "b.dcm": (Verdict.STORED, "told why"),
    }


def test_sending_can_be_cancelled(run: Run, tmp_path: Path) -> None:
    write_study(tmp_path, 4)

    def hold(peer: ScriptedPeer) -> None:
        peer.expect(pdus.ASSOCIATE_RQ)
        peer.send(pdus.associate_ac([(1, 0, EXPLICIT)]))
        kind = pdus.P_DATA
        while kind == pdus.P_DATA:
            kind, _ = peer.receive()
        assert kind == pdus.ABORT

    async def cancel(peer: PeerSettings) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await send(peer, [tmp_path], Results())

    with scripted(hold) as peer:
        run(cancel(peer))


# DCMTK


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[PeerSettings]:
    """Run DCMTK's storage SCP on a port that was free a moment ago."""
    folder.mkdir()
    process, port = _start_storescp(folder, *options)
    try:
        yield PeerSettings(name="dcmtk", ae_title="STORESCP", host="127.0.0.1", port=port)
    finally:
        process.terminate()
        process.wait()


def _start_storescp(folder: Path, *options: str) -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(5):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = int(server.getsockname()[1])
        process = subprocess.Popen(["storescp", *options, "-od", str(folder), str(port)])
        if _is_listening(process, port):
            return process, port
    raise AssertionError("storescp found no free port")


def _is_listening(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return True
    return False


@needs_dcmtk
def test_dcmtk_takes_what_is_sent(run: Run, tmp_path: Path) -> None:
    sent = {make.SOPInstanceUID: make for make in make_study(modalities=("CT", "MR"), side=300)}
    for uid, instance in sent.items():
        write_instance(tmp_path / "sent" / f"{uid}.dcm", instance)
    with storescp(tmp_path / "got", "--bit-preserving") as peer:
        assert run(echo(peer, calling_ae_title="CLIENT", settings=QUICK)).status == 0
        summary = run(send(peer, [tmp_path / "sent"], Results()))
    assert summary.counts == {Verdict.STORED: 6}
    got = {path: data_set(path) for path in (tmp_path / "got").iterdir()}
    assert sorted(got.values()) == sorted(data_set(path) for path in (tmp_path / "sent").iterdir())


@needs_dcmtk
def test_dcmtk_rejects(run: Run, tmp_path: Path) -> None:
    write_study(tmp_path / "sent", 1)
    rejected = pytest.raises(AssociationRejectedError)
    with storescp(tmp_path / "got", "--refuse") as peer, rejected:
        run(send(peer, [tmp_path / "sent"], Results()))


@needs_dcmtk
def test_dcmtk_aborts_every_time(run: Run, tmp_path: Path) -> None:
    write_study(tmp_path / "sent", 2)
    with short_pauses(), storescp(tmp_path / "got", "--abort-during") as peer:
        summary = run(send(peer, [tmp_path / "sent"], Results()))
    assert summary.counts == {Verdict.FAILED: 2}
