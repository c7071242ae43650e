"""A node that crashes at one step while it takes instances, and what the next start makes of it."""

import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Final

from support.acknowledged_sender import Instance, Ledger, make_instance, store
from support.crash_node import CRASHED, Crash, CrashingNode, CrashNodes
from support.invariant import archive_folder, check_archive, doomed_paths, rows_of
from support.processes import Address
from support.scripted_peer import PeerError, ScriptedPeer

ROOT: Final = "1.2.826.0.1.3680043.8.498"
SUCCESS: Final = 0x0000
SEEDS: Final = 4
"""Instances that are acknowledged before the node is armed; as many are sent then, until the node ends."""

_JOBS_SECONDS: Final = 20.0
_SETTINGS: Final = {"storage.reserve_bytes": 0, "storage.segment_files": 2}


class Case(Enum):
    """What is being sent when the node crashes."""

    NEW = "new"
    NEW_STUDY = "new study"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REPLACEMENT = "replacement"
    HEALING = "healing"


@dataclass
class Trial:
    """One archive under crashes.

    Parameters
    ----------
    nodes
        Starts the nodes.
    folder
        Of the trial: the node's data folder lies in it.
    """

    nodes: CrashNodes
    folder: Path
    ledger: Ledger = field(default_factory=Ledger)
    _rng: random.Random = field(default_factory=lambda: random.Random(1))
    _count: int = 0
    _unanswered: list[Instance] = field(default_factory=list)
    _damaged: set[str] = field(default_factory=set)

    @property
    def data_folder(self) -> Path:
        """The node's."""
        return self.folder / "data"

    def crash_while_sending(self, crash: Crash, case: Case, association_count: int) -> int:
        """Let a node crash at a step of what one of several associations sends; return how many got Success.

        The node must have kept the promises of the one before, and take again what that one did not answer.
        """
        with self.nodes.start(self.folder, settings_of(case), crash) as node:
            address = node.address
            self._check_start(address)
            seeds = self.send_new(address, SEEDS)
            if case is Case.HEALING:
                self._damage(seeds)
            node.arm()
            targets = [self._targets(case, seeds) for _ in range(association_count)]
            with ThreadPoolExecutor(association_count) as threads:
                counts = list(threads.map(lambda mine: self._send_until_cut_off(address, mine), targets))
            assert node.wait() == CRASHED, crash
        self._unanswered = [target for mine in targets for target in mine]
        return sum(counts)

    def check(self) -> None:
        """Check that a node starts once more, and that its clean stop leaves nothing to recover."""
        with self.nodes.start(self.folder, settings_of(Case.NEW)) as node:
            self._check_start(node.address)
            self.stop_clean(node)

    def stop_clean(self, node: CrashingNode) -> None:
        """Stop the node once its jobs have removed what they are to remove, and check what is left."""
        deadline = time.monotonic() + _JOBS_SECONDS
        while doomed_paths(self.data_folder):
            assert time.monotonic() < deadline, f"files are left:\n{node.log}"
            time.sleep(0.005)
        node.stop()
        check_archive(self.data_folder, self.ledger, is_running=False)

    def send_new(self, address: Address, count: int) -> list[Instance]:
        """Send so many new instances of one series and return them."""
        instances = [self._make(1) for _ in range(count)]
        assert [self._send(address, instance) for instance in instances] == [SUCCESS] * count
        return instances

    def send_again(self, address: Address, instance: Instance) -> Instance:
        """Send other content as the same SOP Instance and return it."""
        other = self._target(Case.CONFLICT, instance)
        assert self._send(address, other) == SUCCESS
        return other

    def _check_start(self, address: Address) -> None:
        if not self._damaged:
            check_archive(self.data_folder, self.ledger, is_running=True)
        for instance in self._unanswered:
            assert self._send(address, instance) == SUCCESS
        self._damaged.clear()  # the next start shows what the resends have healed

    def _damage(self, instances: Sequence[Instance]) -> None:
        """Let the disk lose half of each file; only a resend brings that back."""
        paths = {row.uid: row.path for row in rows_of(self.data_folder)}
        for instance in instances:
            self._damaged.add(instance.uid)
            path = archive_folder(self.data_folder) / "store" / paths[instance.uid]
            os.truncate(path, path.stat().st_size // 2)

    def _send_until_cut_off(self, address: Address, targets: Sequence[Instance]) -> int:
        """Send `targets` one by one and return how many got Success before the node ended."""
        for count, target in enumerate(targets):
            status = self._send(address, target)
            if status is None:
                return count
            assert status == SUCCESS
        return len(targets)

    def _targets(self, case: Case, seeds: Sequence[Instance]) -> list[Instance]:
        return [self._target(case, seed) for seed in seeds]

    def _target(self, case: Case, seed: Instance) -> Instance:
        match case:
            case Case.NEW:
                return self._make(1)
            case Case.NEW_STUDY:
                return self._make(self._count + 2)
            case Case.DUPLICATE | Case.HEALING:
                return seed
            case Case.CONFLICT | Case.REPLACEMENT:
                return replace(seed, data_set=self._make(1, seed.uid).data_set)

    def _make(self, study: int, uid: str = "") -> Instance:
        self._count += 1
        uid = uid or f"{ROOT}.9.{self._count}"
        return make_instance(self._rng, uid, 4_000, study=study)

    def _send(self, address: Address, instance: Instance) -> int | None:
        """Return the status that the instance was answered with, None if it was not."""
        self.ledger.sent[instance.uid].add(instance.digest)
        with suppress(OSError, PeerError), ScriptedPeer.connect(address) as peer:
            peer.associate()
            status = store(peer, instance)
            if status == SUCCESS:
                self.ledger.acknowledged[instance.uid].add(instance.digest)
            return status
        return None


def settings_of(case: Case) -> dict[str, object]:
    policy = "replace" if case is Case.REPLACEMENT else "keep-first"
    return _SETTINGS | {"archives": [{"name": "main", "duplicate_policy": policy}]}
