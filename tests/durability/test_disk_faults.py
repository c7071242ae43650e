"""System calls of the store that fail, each of a sequence in turn: A700, and nothing half kept."""

import errno
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.acknowledged_sender import Instance, Ledger, make_instance, store
from support.faults import BROKEN, NO_ROOM, FaultyOs, ShortWritingOs
from support.invariant import check_archive
from support.nodes import RunningNode, node_settings, running_node
from support.scripted_peer import ScriptedPeer

from pacslite.model.errors import DataFolderError
from pacslite.node import Node
from pacslite.settings.schema import StorageSettings
from pacslite.storage import folders, incoming, segments
from pacslite.storage.segments import SEAL_NAME

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
SIZES = (4_000, 1_500_000, 30_000, 2_500_000)
"""One write, several, one, several with a sync in between."""

STORAGE = StorageSettings(reserve_bytes=0, segment_files=8, sync_interval_bytes=1_000_000)
CALLS = {
    "open": (incoming, "open"),
    "write": (incoming, "writev"),
    "sync": (incoming, "fdatasync"),
    "make file": (segments, "open"),
    "sync folder": (folders, "fsync"),
}


class Sending:
    """A node, an association with it, and what was said on it."""

    def __init__(self, node: RunningNode, peer: ScriptedPeer) -> None:
        self.node = node
        self.peer = peer
        self.ledger = Ledger()
        self._rng = random.Random(1)
        self._count = 0

    def store(self, size_bytes: int) -> int:
        """Send a new instance and note what became of it."""
        self._count += 1
        instance = make_instance(self._rng, f"1.2.826.0.1.3680043.8.498.{self._count}", size_bytes)
        return self.store_again(instance)

    def store_again(self, instance: Instance) -> int:
        self.ledger.sent[instance.uid].add(instance.digest)
        status = store(self.peer, instance)
        if status == SUCCESS:
            self.ledger.acknowledged[instance.uid].add(instance.digest)
        return status

    def check(self) -> None:
        """Check that nothing is half kept, once the disk threads are done."""
        deadline = time.monotonic() + 10
        while len(self.node.stored_files()) > len(self.node.stored_paths()) and time.monotonic() < deadline:
            time.sleep(0.005)
        check_archive(self.node.settings.data_folder, self.ledger, is_running=True)

    @property
    def is_degraded(self) -> bool:
        (archive,) = self.node.node.archives.values()
        return archive.store.health.is_degraded


@pytest.fixture
def sending(tmp_path: Path) -> Iterator[Sending]:
    with running_node(tmp_path, storage=STORAGE) as node, ScriptedPeer.connect(node.address) as peer:
        peer.associate()
        yield Sending(node, peer)
        assert node.loop_errors == []


def fail(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, function: str, number: int, **calls: int
) -> FaultyOs:
    faulty = FaultyOs(function, number, **calls)
    monkeypatch.setattr(module, "os", faulty)
    return faulty


@pytest.mark.parametrize("error_number", [BROKEN, NO_ROOM], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["open", "write", "sync"])
def test_each_call_that_fails_once_costs_one_instance(
    call: str, error_number: int, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, function = CALLS[call]
    number = 0
    while True:
        number += 1
        with monkeypatch.context() as patch:
            faulty = fail(patch, module, function, error_number, first=number, last=number)
            statuses = [sending.store(size) for size in SIZES]
        if faulty.calls < number:
            break
        assert sorted(statuses) == [SUCCESS, SUCCESS, SUCCESS, OUT_OF_RESOURCES]
        assert len(faulty.failed_paths) == 1
        assert faulty.retried_paths == []
    assert statuses == [SUCCESS] * len(SIZES)
    assert number > len(SIZES)
    sending.check()
    assert sending.is_degraded == (error_number == BROKEN)


@pytest.mark.parametrize("call", ["open", "write", "sync"])
def test_each_call_that_fails_and_all_after_it_cost_all_instances_from_there(
    call: str, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, function = CALLS[call]
    number = 0
    while True:
        number += 1
        with monkeypatch.context() as patch:
            faulty = fail(patch, module, function, BROKEN, first=number)
            statuses = [sending.store(size) for size in SIZES]
        kept = statuses.count(SUCCESS)
        assert statuses == [SUCCESS] * kept + [OUT_OF_RESOURCES] * (len(SIZES) - kept)
        assert faulty.retried_paths == []
        if kept == len(SIZES):
            break
    assert number > len(SIZES)
    sending.check()


@pytest.mark.parametrize("error_number", [BROKEN, NO_ROOM], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails_for_ever_refuses_until_it_is_mended(
    call: str, error_number: int, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, function = CALLS[call]
    with monkeypatch.context() as patch:
        faulty = fail(patch, module, function, error_number)
        statuses = [sending.store(size) for size in SIZES * 6]
        assert faulty.calls
        assert set(statuses) <= {SUCCESS, OUT_OF_RESOURCES}
        assert statuses[-len(SIZES) :] == [OUT_OF_RESOURCES] * len(SIZES)
        if module is incoming:
            assert SUCCESS not in statuses
        assert sending.peer.echo().status == SUCCESS
    assert sending.store(50_000) == SUCCESS
    sending.check()


def test_a_failed_sync_is_not_tried_again_on_the_same_file(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        faulty = fail(patch, incoming, "fdatasync", BROKEN)
        for size in SIZES:
            assert sending.store(size) == OUT_OF_RESOURCES
    assert len(faulty.failed_paths) == len(SIZES)
    assert faulty.retried_paths == []
    assert sending.is_degraded
    sending.check()


def test_writes_that_the_kernel_cuts_short_are_completed(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ShortWritingOs()
    monkeypatch.setattr(incoming, "os", short)
    assert [sending.store(size) for size in SIZES] == [SUCCESS] * len(SIZES)
    assert short.short_writes
    sending.check()


def test_a_write_that_fails_after_a_short_one_keeps_nothing(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(incoming, "os", ShortWritingOs(NO_ROOM))
        assert [sending.store(size) for size in SIZES] == [OUT_OF_RESOURCES] * len(SIZES)
    assert sending.store(4_000) == SUCCESS
    assert not sending.is_degraded
    sending.check()


def test_a_disk_at_its_reserve_refuses(tmp_path: Path) -> None:
    storage: dict[str, Any] = {"storage": StorageSettings(reserve_bytes=1 << 60, segment_files=8)}
    with running_node(tmp_path, **storage) as node, ScriptedPeer.connect(node.address) as peer:
        peer.associate()
        sending = Sending(node, peer)
        assert [sending.store(size) for size in SIZES] == [OUT_OF_RESOURCES] * len(SIZES)
        assert not sending.is_degraded
        sending.check()


@pytest.mark.parametrize("call", ["make file", "sync folder"])
async def test_a_start_that_fails_leaves_no_thread_and_may_be_tried_again(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, function = CALLS[call]
    settings = node_settings(tmp_path)
    before = set(threading.enumerate())
    with monkeypatch.context() as patch:
        fail(patch, module, function, BROKEN, first=6)
        with pytest.raises(DataFolderError, match="Input/output error"):
            await Node(settings).start()
    started = {thread.name for thread in set(threading.enumerate()) - before}
    assert {name for name in started if not name.startswith("asyncio")} == set()
    node = Node(settings)
    await node.start()
    await node.stop()


def test_a_segment_is_sealed_only_once_its_removals_are_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        with running_node(tmp_path, storage=STORAGE) as node, ScriptedPeer.connect(node.address) as peer:
            peer.associate()
            sending = Sending(node, peer)
            assert sending.store(4_000) == SUCCESS
            fail(patch, folders, "fsync", BROKEN)
        assert list(tmp_path.rglob(SEAL_NAME)) == []
    with running_node(tmp_path, storage=STORAGE):
        assert len(list(tmp_path.rglob(SEAL_NAME))) == 1
    check_archive(tmp_path, sending.ledger, is_running=False)
