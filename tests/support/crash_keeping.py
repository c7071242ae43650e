"""A node that crashes at one step of what its keeper asked for, and what the next starts make of it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from support.crash_node import CRASHED, Crash, CrashingNode, Moment
from support.crash_trial import ROOT, Case, Trial, settings_of
from support.invariant import check_archive, doomed_paths, opened_index

from pacslite.control.client import NodeClient
from pacslite.model.errors import NotFoundError, OperationError

Operation = tuple[str, Mapping[str, Any]]

_CONFLICTS_OF: Final = """
    SELECT conflict.pk FROM conflict JOIN instance ON instance.pk = conflict.instance_pk
    WHERE instance.sop_instance_uid = ?
"""


@dataclass
class KeepingTrial(Trial):
    """One archive whose nodes crash while they carry out operations."""

    may_be_gone: set[str] = field(default_factory=set)

    def crash_while_deleting(self, crash: Crash, *, is_forgetting: bool) -> None:
        """Let a node crash at a step of a deletion; the next one is asked for the same again, and does it."""
        with self.nodes.start(self.folder, settings_of(Case.NEW), crash) as node:
            study, doomed = self._fill(node)
            node.arm()
            delete = ("delete", {"level": "study", "uid": study, "forget": is_forgetting})
            is_told = _ask(node, delete)
            assert node.wait() == CRASHED, crash
        with self.nodes.start(self.folder, settings_of(Case.NEW)) as node:
            assert node.address
            self.check_running()
            if is_told:
                self._check_gone(doomed)
            with suppress(NotFoundError):
                NodeClient(node.data_folder, node.pid).call(*delete)
            self._check_gone(doomed)
            self.stop_clean(node)

    def crash_while_removing(self, crash: Crash) -> None:
        """Let the job that a deletion left crash its node; the next one does it."""
        before = Crash("pacslite.archive.removal:remove_durably", Moment.BEFORE)
        with self.nodes.start(self.folder, settings_of(Case.NEW), before) as node:
            study, doomed = self._fill(node)
            node.arm()
            assert not _ask(node, ("delete", {"level": "study", "uid": study, "forget": False}))
            assert node.wait() == CRASHED, crash
        assert doomed_paths(self.data_folder)
        with self.nodes.start(self.folder, settings_of(Case.NEW), crash, is_armed=True) as node:
            assert node.wait() == CRASHED, crash
        with self.nodes.start(self.folder, settings_of(Case.NEW)) as node:
            assert node.address
            self.check_running()
            self._check_gone(doomed)
            self.stop_clean(node)

    def crash_while_settling(self, crash: Crash, operation: str) -> None:
        """Let a node crash while a conflict is accepted or discarded; the next one is asked again."""
        with self.nodes.start(self.folder, settings_of(Case.CONFLICT), crash) as node:
            address = node.address
            (first,) = self.send_new(address, 1)
            other = self.send_again(address, first)
            (number,) = self._conflicts_of(first.uid)
            node.arm()
            if operation == "conflicts.discard":
                self.may_be_gone.add(first.uid)
            settle = (operation, {"number": number})
            _ask(node, settle)
            assert node.wait() == CRASHED, crash
        with self.nodes.start(self.folder, settings_of(Case.CONFLICT)) as node:
            assert node.address
            self.check_running()
            if operation == "conflicts.discard":
                if self._conflicts_of(first.uid):
                    NodeClient(node.data_folder, node.pid).call(*settle)
                assert not self._conflicts_of(first.uid)
                self.ledger.acknowledged[first.uid].discard(other.digest)
                self.may_be_gone.clear()
            self.stop_clean(node)

    def check_running(self) -> None:
        check_archive(self.data_folder, self.ledger, is_running=True, may_be_gone=self.may_be_gone)

    def _fill(self, node: CrashingNode) -> tuple[str, set[str]]:
        """Send a study with a version kept aside; return its UID and those of its instances."""
        address = node.address
        self.check_running()
        instances = self.send_new(address, 3)
        self.send_again(address, instances[0])
        doomed = {instance.uid for instance in instances}
        self.may_be_gone |= doomed
        return f"{ROOT}.1", doomed

    def _check_gone(self, doomed: set[str]) -> None:
        with opened_index(self.data_folder) as index:
            found = index.execute("SELECT sop_instance_uid FROM instance WHERE path IS NOT NULL")
            assert not doomed & {uid for (uid,) in found}
        for uid in doomed:
            self.ledger.acknowledged.pop(uid, None)
        self.may_be_gone -= doomed

    def _conflicts_of(self, uid: str) -> list[int]:
        with opened_index(self.data_folder) as index:
            return [pk for (pk,) in index.execute(_CONFLICTS_OF, (uid,))]


def _ask(node: CrashingNode, operation: Operation) -> bool:
    """Ask the node for an operation; return whether it said that it is done."""
    try:
        NodeClient(node.data_folder, node.pid).call(*operation)
    except OperationError:
        return False
    return True
