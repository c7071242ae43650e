"""Calls about files and folders that fail, each in turn: at first, in recovery, at work, at the end."""

import errno
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, Self

import pytest
from support.acknowledged_sender import Instance, Ledger, make_instance, store
from support.faults import BROKEN, NO_ROOM, FailingCalls
from support.invariant import archive_folder, check_archive
from support.nodes import node_settings, running_node
from support.scripted_peer import ScriptedPeer

from pacslite.model.errors import DataFolderError
from pacslite.node import Node
from pacslite.settings.schema import StorageSettings

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
CALLS: Final = ("open", "fsync", "mkdir", "unlink", "listdir", "replace")
STORAGE: Final = StorageSettings(reserve_bytes=0, segment_files=3)
ROOT: Final = "1.2.826.0.1.3680043.8.498.9"
MOST_CALLS: Final = 200
"""A start makes some dozens; a loop that never ends is a mistake of the test's."""


class Sender:
    """Sends on one association, and writes down what was promised."""

    def __init__(self, address: tuple[str, int], ledger: Ledger) -> None:
        self._ledger = ledger
        self._rng = random.Random(len(ledger.sent))
        self._peer = ScriptedPeer.connect(address)
        self._peer.associate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._peer.close()

    def new(self, uid: str = "") -> Instance:
        return make_instance(self._rng, uid or f"{ROOT}.{len(self._ledger.sent) + 1}", 4_000)

    def store(self, instance: Instance) -> int:
        self._ledger.sent[instance.uid].add(instance.digest)
        status = store(self._peer, instance)
        if status == SUCCESS:
            self._ledger.acknowledged[instance.uid].add(instance.digest)
        return status

    def store_all_kinds(self) -> list[int]:
        """Store instances that are new, known, and in conflict with known ones."""
        instance = self.new()
        return [self.store(instance), self.store(instance), self.store(self.new(instance.uid))]


async def start_and_stop(data_folder: Path, meanwhile: Callable[[], None] = lambda: None) -> None:
    node = Node(node_settings(data_folder, storage=STORAGE))
    await node.start()
    try:
        meanwhile()
    finally:
        await node.stop()


async def fail_each_call(
    make_folder: Callable[[int], Path], function: str, error_number: int, ledger: Ledger
) -> int:
    """Start a node on a folder of its own for each call that a start makes, and let that call fail."""
    for number in count(1):
        folder = make_folder(number)
        with pytest.MonkeyPatch.context() as patch:
            calls = FailingCalls(folder, function, error_number, first=number, last=number)
            calls.install(patch)
            with suppress(DataFolderError):  # what a keeper can read
                await start_and_stop(folder)
        await start_and_stop(folder, partial(check_archive, folder, ledger, is_running=True))
        check_archive(folder, ledger, is_running=False)
        if not calls.has_failed:
            return number - 1
        assert number < MOST_CALLS
    raise AssertionError


@pytest.mark.timeout(120)
@pytest.mark.parametrize("function", ["open", "fsync", "mkdir", "replace"])
async def test_a_first_start_in_which_any_call_fails_can_be_made_again(function: str, tmp_path: Path) -> None:
    failed = await fail_each_call(lambda number: tmp_path / str(number), function, NO_ROOM, Ledger())
    assert failed


@pytest.fixture
def killed(tmp_path: Path) -> tuple[Path, Ledger]:
    """Return what a node leaves that is killed with instances kept, kept aside, and half received."""
    folder, ledger = tmp_path / "running", Ledger()
    with running_node(folder, storage=STORAGE) as node, Sender(node.address, ledger) as sender:
        for _ in range(3):
            assert sender.store_all_kinds() == [SUCCESS] * 3
        copy = tmp_path / "killed"
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.sock"))
    empty = [path for path in archive_folder(copy).rglob("*.dcm") if not path.stat().st_size]
    for path in empty[:2]:
        path.write_bytes(b"half an instance")
    return copy, ledger


@pytest.mark.timeout(120)
@pytest.mark.parametrize("function", ["open", "fsync", "unlink", "listdir"])
async def test_a_recovery_in_which_any_call_fails_can_be_made_again(
    function: str, killed: tuple[Path, Ledger], tmp_path: Path
) -> None:
    data, ledger = killed

    def copied(number: int) -> Path:
        shutil.copytree(data, tmp_path / str(number))
        return tmp_path / str(number)

    assert await fail_each_call(copied, function, BROKEN, ledger)


@pytest.mark.parametrize("error_number", [BROKEN, NO_ROOM], ids=errno.errorcode.get)
@pytest.mark.parametrize("function", CALLS)
def test_calls_that_fail_at_work_cost_at_most_refusals(
    function: str, error_number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger()
    with running_node(tmp_path, storage=STORAGE) as node, Sender(node.address, ledger) as sender:
        for first in range(1, 13):
            with monkeypatch.context() as patch:
                FailingCalls(tmp_path, function, error_number, first=first, last=first + 2).install(patch)
                statuses = sender.store_all_kinds() + sender.store_all_kinds()
            assert set(statuses) <= {SUCCESS, OUT_OF_RESOURCES}
        assert sender.store_all_kinds() == [SUCCESS] * 3
        assert node.loop_errors == []
    with running_node(tmp_path):
        check_archive(tmp_path, ledger, is_running=True)
    check_archive(tmp_path, ledger, is_running=False)


@pytest.mark.parametrize("function", CALLS)
def test_calls_that_fail_while_the_node_stops_leave_the_rest_to_the_next_start(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger()
    with (
        monkeypatch.context() as patch,
        running_node(tmp_path, storage=STORAGE) as node,
        Sender(node.address, ledger) as sender,
    ):
        assert sender.store_all_kinds() == [SUCCESS] * 3
        FailingCalls(tmp_path, function, BROKEN).install(patch)
    with running_node(tmp_path):
        check_archive(tmp_path, ledger, is_running=True)
    check_archive(tmp_path, ledger, is_running=False)
