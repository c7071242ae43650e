"""A file system that is really full: A700, no debris, and work goes on once there is room."""

import random
from pathlib import Path

from support.acknowledged_sender import Ledger, make_instance, store
from support.invariant import archive_folder, check_archive, stored_files
from support.mounts import tmpfs
from support.processes import NodeProcess
from support.scripted_peer import ScriptedPeer

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
SMALL = {"storage.reserve_bytes": 0, "storage.segment_files": 16}


class Sender:
    """One association that sends instances of one size."""

    def __init__(self, peer: ScriptedPeer, ledger: Ledger, size_bytes: int) -> None:
        self._peer = peer
        self._ledger = ledger
        self._size_bytes = size_bytes
        self._rng = random.Random(1)
        self._count = 0
        peer.associate()

    def store(self) -> int:
        self._count += 1
        instance = make_instance(self._rng, f"1.2.826.0.1.3680043.8.498.{self._count}", self._size_bytes)
        self._ledger.sent[instance.uid].add(instance.digest)
        status = store(self._peer, instance)
        if status == SUCCESS:
            self._ledger.acknowledged[instance.uid].add(instance.digest)
        return status

    def store_until_refused(self, most: int) -> int:
        for _ in range(most):
            status = self.store()
            if status:
                return status
        return SUCCESS


def check_full_and_freed(node: NodeProcess, size_bytes: int, ballast: list[Path]) -> Ledger:
    """Fill the disk, see refusals and no debris, take the ballast away, and store again at once."""
    ledger = Ledger()
    with ScriptedPeer.connect(node.address) as peer:
        sender = Sender(peer, ledger, size_bytes)
        assert sender.store_until_refused(500) == OUT_OF_RESOURCES
        assert ledger.acknowledged_count
        assert {sender.store() for _ in range(40)} <= {SUCCESS, OUT_OF_RESOURCES}
        assert peer.echo().status == SUCCESS
        node.wait_for(lambda: _nothing_else(node.data_folder, ledger), "end of the clearing up", 5)
        check_archive(node.data_folder, ledger, is_running=True)
        for path in ballast:
            path.unlink()
        assert [sender.store() for _ in range(3)] == [SUCCESS] * 3
        peer.release()
    node.terminate()
    assert node.wait(10) == 0
    check_archive(node.data_folder, ledger, is_running=False)
    assert len(stored_files(node.data_folder)) == ledger.acknowledged_count
    return ledger


def _nothing_else(data_folder: Path, ledger: Ledger) -> bool:
    files = [path for path in data_folder.rglob("*.dcm") if path.stat().st_size]
    return len(files) == ledger.acknowledged_count


def test_a_full_disk_refuses_and_keeps_no_debris(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=16m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(8 * 1024 * 1024))
        with NodeProcess(disk / "data", settings=SMALL) as node:
            check_full_and_freed(node, 300_000, [ballast])


def test_a_disk_that_is_full_for_the_index_too_refuses(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=16m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(13 * 1024 * 1024))
        with NodeProcess(disk / "data", settings=SMALL) as node:
            check_full_and_freed(node, 4_000, [ballast])


def test_a_disk_without_inodes_refuses(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=64m,nr_inodes=140") as disk:
        ballast = [disk / str(number) for number in range(60)]
        for path in ballast:
            path.touch()
        with NodeProcess(disk / "data", settings=SMALL) as node:
            check_full_and_freed(node, 4_000, ballast)


def test_the_reserve_is_left_on_the_disk(tmp_path: Path) -> None:
    reserve = 4 * 1024 * 1024
    with tmpfs(tmp_path / "disk", "size=24m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(8 * 1024 * 1024))
        with NodeProcess(disk / "data", settings=SMALL | {"storage.reserve_bytes": reserve}) as node:
            check_full_and_freed(node, 300_000, [ballast])


def test_a_disk_that_is_full_for_the_index_alone_refuses(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=2m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(1024 * 1024))
        data_folder = tmp_path / "data"
        archive_folder(data_folder).mkdir(parents=True)
        (archive_folder(data_folder) / "index.sqlite").symlink_to(disk / "index.sqlite")  # where checks look
        archive = {"name": "main", "index_url": f"sqlite:///{disk / 'index.sqlite'}"}
        with NodeProcess(data_folder, settings=SMALL | {"archives": [archive]}) as node:
            check_full_and_freed(node, 4_000, [ballast])
