"""A node on a recorded disk, the power cut at many moments, and what each start afterwards finds."""

import random
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from support.acknowledged_sender import Ledger, make_instance, sending, store
from support.block_devices import loop_mounted, make_file_system, recorded_disk
from support.invariant import archive_folder, check_archive
from support.nodes import running_node
from support.power import CrashedDisk, PowerCut, Survival
from support.processes import SERVE, NodeProcess
from support.scripted_peer import ScriptedPeer

from pacslite.settings.schema import IndexSettings, StorageSettings

DISK_BYTES: Final = 96 * 1024 * 1024
LARGEST_BYTES: Final = 300_000
LOAD_SECONDS: Final = 1.0
QUIET_SECONDS: Final = 0.2
"""In which the second node has recovered, but has nothing to do: for cuts right then."""

MOST_PROMISES: Final = 400
"""Of one load; the disk is small."""

IMAGE_NAME: Final = "empty.img"
LOG_NAME: Final = "log"

_SETTINGS: Final = {
    "storage.reserve_bytes": 0,
    "storage.segment_files": 16,
    "storage.sync_interval_bytes": 100_000,
    "index.checkpoint_wal_bytes": 200_000,
}
_LIMITS: Final[dict[str, Any]] = {
    "storage": StorageSettings(reserve_bytes=0, segment_files=16),
    "index": IndexSettings(checkpoint_wal_bytes=200_000),
}


@dataclass(frozen=True)
class Record:
    """What was sent to a node, what it promised when, and all that its disk was told."""

    kind: str
    folder: Path
    ledger: Ledger
    first_ns: int
    restarted_ns: int
    last_ns: int


@dataclass
class Verdict:
    """What the images of a record showed."""

    checked: int = 0
    promises: int = 0
    losses: list[str] = field(default_factory=list)

    def __iadd__(self, other: Self) -> Self:
        self.checked += other.checked
        self.promises += other.promises
        self.losses += other.losses
        return self

    def __str__(self) -> str:
        return f"{self.checked} images, {self.promises} promises, {len(self.losses)} images with a loss"


@contextmanager
def record(
    kind: str, folder: Path, seed: int, program: Sequence[str] = SERVE, *, tracer: Sequence[str] = ()
) -> Iterator[Record]:
    """Send to a node on a new file system; kill it halfway and let a second one recover and go on.

    The new `folder` goes at the end of the context.

    Parameters
    ----------
    program
        In place of `pacslite serve`.
    tracer
        The first node runs under strace with these options, where `{log}` stands for the index's log; it is
        killed with it. The log is then left to grow: no checkpoint syncs it.
    """
    folder.mkdir()
    yield _record(kind, folder, seed, program, tracer)
    shutil.rmtree(folder)


def _record(kind: str, folder: Path, seed: int, program: Sequence[str], tracer: Sequence[str]) -> Record:
    image, log = folder / IMAGE_NAME, folder / LOG_NAME
    make_file_system(kind, image, DISK_BYTES)
    ledger = Ledger()
    with (
        recorded_disk(image, folder / "fuse", log) as disk,
        loop_mounted(kind, disk, folder / "mounted") as mounted,
    ):
        data_folder = mounted / "data"
        first_ns = time.monotonic_ns()
        wal = archive_folder(data_folder) / "index.sqlite-wal"
        wrapper = ["strace", "-f", *(option.format(log=wal) for option in tracer)] if tracer else []
        settings = _SETTINGS | ({"index.checkpoint_wal_bytes": 1 << 30} if tracer else {})
        with NodeProcess(data_folder, settings=settings, program=program, wrapper=wrapper) as node:
            _load(node, ledger, seed, is_killed=True)
        with NodeProcess(data_folder, settings=settings, program=program) as node:
            assert node.address
            restarted_ns = time.monotonic_ns()
            time.sleep(QUIET_SECONDS)
            _load(node, ledger, seed + 1, is_killed=False)
            node.terminate()
            node.wait(20)
        last_ns = time.monotonic_ns()
    assert not ledger.refusals
    return Record(kind, folder, ledger, first_ns, restarted_ns, last_ns)


def _load(node: NodeProcess, ledger: Ledger, seed: int, *, is_killed: bool) -> None:
    already = ledger.acknowledged_count
    with sending(node.address, ledger, seed, largest_bytes=LARGEST_BYTES) as sender:
        sender.wait_for_an_answer()
        deadline = time.monotonic() + LOAD_SECONDS
        while time.monotonic() < deadline and ledger.acknowledged_count - already < MOST_PROMISES:
            time.sleep(0.005)
        if is_killed:
            node.kill()


def power_cuts(record: Record, count: int, seed: int, *, is_promise_needed: bool = False) -> list[PowerCut]:
    """Return moments of the record: those at which a Success came, any, and any before the first Success."""
    rng = random.Random(seed)
    promises = [promise.at_ns for promise in record.ledger.promises]
    first_promise_ns = min(promises)
    moments = []
    for number in range(count):
        if number % 2:
            moments.append(rng.choice(promises))
        elif number % 10 or is_promise_needed:
            moments.append(rng.randint(first_promise_ns, record.last_ns))
        else:
            moments.append(rng.randint(record.first_ns, first_promise_ns))
    return _cuts(moments, rng)


def power_cuts_after_restart(record: Record, count: int, seed: int) -> list[PowerCut]:
    """Return moments between the second node's recovery and its first promises."""
    rng = random.Random(seed)
    later = [promise.at_ns for promise in record.ledger.promises if promise.at_ns > record.restarted_ns]
    last_ns = later[min(5, len(later) - 1)]
    return _cuts([rng.randint(record.restarted_ns, last_ns) for _ in range(count)], rng)


def _cuts(moments: Sequence[int], rng: random.Random) -> list[PowerCut]:
    kinds = list(Survival)
    return [
        PowerCut(at_ns, kinds[number % len(kinds)], rng.getrandbits(32))
        for number, at_ns in enumerate(sorted(moments))
    ]


def check_power_cuts(record: Record, cuts: Sequence[PowerCut]) -> Verdict:
    """Start a node on the image that each power cut leaves, and note those that break a promise."""
    disk = CrashedDisk(record.folder / IMAGE_NAME, record.folder / LOG_NAME, record.folder)
    verdict = Verdict()
    for cut in cuts:
        promised = record.ledger.until(cut.at_ns)
        verdict.checked += 1
        verdict.promises += promised.acknowledged_count
        try:
            _check(record.kind, disk.cut(cut), record.folder / "mounted", promised)
        except Exception as error:  # noqa: BLE001 - whatever a damaged disk makes of a start is a loss
            verdict.losses.append(f"{cut}: {type(error).__name__}: {error}")
    return verdict


def _check(kind: str, image: Path, folder: Path, promised: Ledger) -> None:
    """Check that a node starts on `image`, has all that was promised, and takes more."""
    with loop_mounted(kind, image, folder) as mounted:
        data_folder = mounted / "data"
        with running_node(data_folder, **_LIMITS) as node:
            check_archive(data_folder, promised, is_running=True)
            instance = make_instance(random.Random(1), "1.2.826.0.1.3680043.8.498.77", 4_000)
            promised.sent[instance.uid].add(instance.digest)
            with ScriptedPeer.connect(node.address) as peer:
                peer.associate()
                assert store(peer, instance) == 0
                peer.release()
            promised.acknowledged[instance.uid].add(instance.digest)
        check_archive(data_folder, promised, is_running=False)
