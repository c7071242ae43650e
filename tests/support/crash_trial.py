"""A node that crashes at one step while it takes instances, and what the next start makes of it."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Final

from support.acknowledged_sender import Instance, Ledger, make_instance, store
from support.crash_node import CRASHED, Crash, CrashNodes
from support.invariant import check_archive
from support.processes import Address
from support.scripted_peer import PeerError, ScriptedPeer

ROOT: Final = "1.2.826.0.1.3680043.8.498"
SUCCESS: Final = 0x0000
SEEDS: Final = 4
"""Instances that are acknowledged before the node is armed; as many are sent then, until the node ends."""

_SETTINGS: Final = {"storage.reserve_bytes": 0, "storage.segment_files": 2}


class Case(Enum):
    """What is being sent when the node crashes."""

    NEW = "new"
    NEW_STUDY = "new study"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REPLACEMENT = "replacement"


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

    @property
    def data_folder(self) -> Path:
        """The node's."""
        return self.folder / "data"

    def crash_while_sending(self, crash: Crash, case: Case, association_count: int) -> int:
        """Let a node crash at a step of what one of several associations sends; return how many got Success.

        The node must have kept the promises of the one before, and take again what that one did not answer.
        """
        with self.nodes.start(self.folder, _settings(case), crash) as node:
            address = node.address
            self._check_start(address)
            seeds = self.send_new(address, SEEDS)
            node.arm()
            targets = [self._targets(case, seeds) for _ in range(association_count)]
            with ThreadPoolExecutor(association_count) as threads:
                counts = list(threads.map(lambda mine: self._send_until_cut_off(address, mine), targets))
            assert node.wait() == CRASHED, crash
        self._unanswered = [target for mine in targets for target in mine]
        return sum(counts)

    def check(self) -> None:
        """Check that a node starts once more, and that its clean stop leaves nothing to recover."""
        with self.nodes.start(self.folder, _settings(Case.NEW)) as node:
            self._check_start(node.address)
            node.stop()
        check_archive(self.data_folder, self.ledger, is_running=False)

    def send_new(self, address: Address, count: int) -> list[Instance]:
        """Send so many new instances of one series and return them."""
        instances = [self._make(1) for _ in range(count)]
        assert [self._send(address, instance) for instance in instances] == [SUCCESS] * count
        return instances

    def _check_start(self, address: Address) -> None:
        check_archive(self.data_folder, self.ledger, is_running=True)
        for instance in self._unanswered:
            assert self._send(address, instance) == SUCCESS

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
            case Case.DUPLICATE:
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


def _settings(case: Case) -> dict[str, object]:
    policy = "replace" if case is Case.REPLACEMENT else "keep-first"
    return _SETTINGS | {"archives": [{"name": "main", "duplicate_policy": policy}]}
