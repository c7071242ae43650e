"""Commits of the index that fail, before, after or instead of being durable."""

import errno
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path, PosixPath

import pytest
from sqlalchemy.pool import ConnectionPoolEntry
from support.acknowledged_sender import Instance, Ledger, make_instance, sending, store
from support.faults import CommitFault, CommitFaults
from support.invariant import archive_folder, check_archive, rows_of, stored_files
from support.kept import wait_until
from support.nodes import running_node
from support.processes import NodeProcess
from support.scripted_peer import Address, ScriptedPeer

from pacslite.index import sqlite as index_sqlite

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
FAILURES = 20
STRACE = shutil.which("strace")


class Sender:
    """One association, and what was said on it."""

    def __init__(self, peer: ScriptedPeer) -> None:
        self.peer = peer
        self.ledger = Ledger()
        self._rng = random.Random(1)
        self._count = 0

    def make(self) -> Instance:
        self._count += 1
        return make_instance(self._rng, f"1.2.826.0.1.3680043.8.498.{self._count}", 4_000)

    def store(self, instance: Instance | None = None) -> int:
        instance = self.make() if instance is None else instance
        self.ledger.sent[instance.uid].add(instance.digest)
        status = store(self.peer, instance)
        if status == SUCCESS:
            self.ledger.acknowledged[instance.uid].add(instance.digest)
        return status


Associate = Callable[[Address], Sender]


@pytest.fixture
def associate() -> Iterator[Associate]:
    peers: list[ScriptedPeer] = []

    def connect(address: Address) -> Sender:
        peer = ScriptedPeer.connect(address)
        peers.append(peer)
        peer.associate()
        return Sender(peer)

    yield connect
    for peer in peers:
        peer.close()


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> CommitFaults:
    faults = CommitFaults()
    faults.install(monkeypatch, index_sqlite)
    return faults


@pytest.mark.parametrize("is_committed", [False, True], ids=["lost", "durable-all-the-same"])
def test_a_commit_in_doubt_keeps_the_file_and_recovery_decides(
    tmp_path: Path, commits: CommitFaults, associate: Associate, *, is_committed: bool
) -> None:
    with running_node(tmp_path) as node:
        sender = associate(node.address)
        assert sender.store() == SUCCESS
        commits.set(CommitFault("SQLITE_IOERR_FSYNC", is_committed))
        assert sender.store() == OUT_OF_RESOURCES
        assert commits.failures == 1
        assert len(node.stored_files()) == 2
        commits.set(None)
        assert sender.store() == SUCCESS
        ledger = sender.ledger
    assert len(stored_files(tmp_path)) == 3
    with running_node(tmp_path):
        check_archive(tmp_path, ledger, is_running=True)
        assert len(rows_of(tmp_path)) == (3 if is_committed else 2)
    check_archive(tmp_path, ledger, is_running=False)


@pytest.mark.parametrize("is_committed", [False, True], ids=["lost", "durable-all-the-same"])
def test_an_instance_sent_again_after_a_commit_in_doubt_is_kept(
    tmp_path: Path, commits: CommitFaults, associate: Associate, *, is_committed: bool
) -> None:
    with running_node(tmp_path) as node:
        sender = associate(node.address)
        instance = sender.make()
        commits.set(CommitFault("SQLITE_IOERR_FSYNC", is_committed))
        assert sender.store(instance) == OUT_OF_RESOURCES
        commits.set(None)
        assert sender.store(instance) == SUCCESS
    with running_node(tmp_path):
        check_archive(tmp_path, sender.ledger, is_running=True)
        assert [row.uid for row in rows_of(tmp_path)] == [instance.uid]


@pytest.mark.parametrize("seed", [1, 2])
def test_commits_that_fail_now_and_then_under_four_associations_break_no_promise(
    tmp_path: Path, commits: CommitFaults, seed: int
) -> None:
    rng = random.Random(seed)
    faults = [
        CommitFault("SQLITE_FULL"),
        CommitFault("SQLITE_IOERR_WRITE"),
        CommitFault("SQLITE_IOERR_FSYNC", is_committed=True),
    ]
    ledger = Ledger()
    with running_node(tmp_path) as node:
        commits.choose = lambda: rng.choice([*faults, None, None, None])
        with sending(node.address, ledger, seed) as sender:
            wait_until(lambda: commits.failures > FAILURES, "too few commits fail")
            commits.set(None)
            sender.stop()
        assert sender.cut_off == []
        assert set(ledger.refusals) == {OUT_OF_RESOURCES}
    with running_node(tmp_path):
        check_archive(tmp_path, ledger, is_running=True)
    check_archive(tmp_path, ledger, is_running=False)


def test_a_commit_without_room_keeps_nothing(
    tmp_path: Path, commits: CommitFaults, associate: Associate
) -> None:
    with running_node(tmp_path) as node:
        sender = associate(node.address)
        commits.set(CommitFault("SQLITE_FULL"))
        assert [sender.store() for _ in range(5)] == [OUT_OF_RESOURCES] * 5
        commits.set(None)
        assert sender.store() == SUCCESS
    check_archive(tmp_path, sender.ledger, is_running=False)
    assert len(stored_files(tmp_path)) == 1


def test_a_log_whose_size_cannot_be_told_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, associate: Associate
) -> None:
    class UnreadablePath(PosixPath):
        def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
            if self.name.endswith("-wal"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().stat(follow_symlinks=follow_symlinks)

    with running_node(tmp_path) as node:
        sender = associate(node.address)
        with monkeypatch.context() as patch:
            patch.setattr(index_sqlite, "Path", UnreadablePath)
            assert [sender.store() for _ in range(40)] == [SUCCESS] * 40
    check_archive(tmp_path, sender.ledger, is_running=False)


def test_a_full_database_refuses_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, associate: Associate
) -> None:
    connections: list[sqlite3.Connection] = []
    prepare = index_sqlite._prepare_writer

    def note(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        prepare(connection, record)
        connections.append(connection)
        connection.execute(f"PRAGMA max_page_count = {limits[0]}")

    limits = [1 << 30]
    monkeypatch.setattr(index_sqlite, "_prepare_writer", note)
    with running_node(tmp_path) as node:
        sender = associate(node.address)
        assert sender.store() == SUCCESS
        limits[0] = connections[-1].execute("PRAGMA page_count").fetchone()[0] + 4
        connections[-1].execute(f"PRAGMA max_page_count = {limits[0]}")
        statuses = [sender.store() for _ in range(60)]
        assert set(statuses) == {SUCCESS, OUT_OF_RESOURCES}
        assert statuses[-10:] == [OUT_OF_RESOURCES] * 10
        assert sender.peer.echo().status == SUCCESS
        limits[0] = 1 << 30
        connections[-1].execute(f"PRAGMA max_page_count = {limits[0]}")
        assert [sender.store() for _ in range(10)] == [SUCCESS] * 10
    check_archive(tmp_path, sender.ledger, is_running=False)
    assert len(stored_files(tmp_path)) == sender.ledger.acknowledged_count


@pytest.mark.skipif(STRACE is None and os.environ.get("CI") != "true", reason="strace is not installed")
@pytest.mark.parametrize(
    "fault",
    ["fdatasync:error=EIO:when=5+7", "pwrite64:error=ENOSPC:when=60+97"],
)
def test_a_log_that_the_kernel_does_not_take_is_never_acknowledged(
    fault: str, tmp_path: Path, associate: Associate
) -> None:
    assert STRACE is not None
    log = archive_folder(tmp_path / "data") / "index.sqlite-wal"
    with NodeProcess(tmp_path / "data") as node:  # makes the index
        node.terminate()
        assert node.wait(10) == 0
    options = ["-f", "-P", str(log), "-e", f"inject={fault}", "-o", str(tmp_path / "trace")]
    with NodeProcess(tmp_path / "data", wrapper=[STRACE, *options]) as node:
        sender = associate(node.address)
        statuses = [sender.store() for _ in range(60)]
        assert set(statuses) == {SUCCESS, OUT_OF_RESOURCES}
        assert sender.peer.echo().status == SUCCESS
        node.kill()
    with NodeProcess(tmp_path / "data") as node:
        assert node.address
        check_archive(tmp_path / "data", sender.ledger, is_running=True)
