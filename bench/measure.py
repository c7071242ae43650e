"""Alternating runs and what they come to: medians, ranges, and ratios pair by pair."""

import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.data import Supplies
from bench.peers import OURS, Peer, running
from bench.processes import StepError
from bench.workloads import Measured, Plan, Workload

LONG_SECONDS: Final = 10.0
"""A peer whose warm-up foretells a longer run gets the workload's slow count."""


@dataclass(frozen=True)
class Summary:
    """Median and range of some figures."""

    median: float
    lowest: float
    highest: float


def summarise(values: Sequence[float]) -> Summary | None:
    """Return median, lowest and highest of `values`; None if there are none."""
    if not values:
        return None
    return Summary(statistics.median(values), min(values), max(values))


def pair_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return ours divided by theirs round by round; a round in which theirs is 0 has no ratio."""
    return [mine / other for mine, other in zip(ours, theirs, strict=False) if other]


@dataclass(frozen=True)
class Run:
    """One measured run; `round_number` counts from 1."""

    workload: str
    peer: str
    round_number: int
    measured: Measured


@dataclass(frozen=True)
class Failure:
    """Why a peer has no further runs of a workload."""

    workload: str
    peer: str
    reason: str


@dataclass
class Comparison:
    """All that was measured, in the order of the plans and peers."""

    plans: list[Plan]
    peers: list[str]
    runs: list[Run] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def measured(self, workload: str, peer: str) -> list[Measured]:
        """Return a peer's figures, one for each of its rounds."""
        return [run.measured for run in self.runs if (run.workload, run.peer) == (workload, peer)]

    def values(self, workload: str, peer: str) -> list[float]:
        """Return a peer's figures as numbers."""
        return [measured.value for measured in self.measured(workload, peer)]

    def summary(self, workload: str, peer: str) -> Summary | None:
        """Return a peer's median and range, or None when it has no run."""
        return summarise(self.values(workload, peer))

    def ratio(self, workload: str, peer: str) -> Summary | None:
        """Return pacslite divided by `peer`, round by round; None for pacslite itself or without pairs."""
        if peer == OURS:
            return None
        return summarise(pair_ratios(self.values(workload, OURS), self.values(workload, peer)))

    def failure(self, workload: str, peer: str) -> Failure | None:
        """Return why a peer has no (further) runs of a workload."""
        found = (failure for failure in self.failures if (failure.workload, failure.peer) == (workload, peer))
        return next(found, None)


class Runner:
    """Runs workloads with peers in turn, each run with a freshly started peer in a fresh folder.

    Parameters
    ----------
    folder
        Where the peers' folders are made, on the disk that is measured.
    supplies
        The instances to send.
    rounds
        How many runs each peer has of each workload.
    """

    def __init__(self, folder: Path, supplies: Supplies, rounds: int) -> None:
        self._folder = folder
        self._supplies = supplies
        self._rounds = rounds
        self._counts: dict[tuple[str, str], int] = {}

    def run(
        self, comparison: Comparison, workloads: Sequence[Workload], peers: Sequence[Peer]
    ) -> Iterator[Run | Failure]:
        """Fill `comparison` and yield each step's outcome: A B C, A B C, …, workload by workload.

        A peer that fails gets no further runs of that workload.
        """
        for workload in workloads:
            for round_number in range(1, self._rounds + 1):
                for peer in peers:
                    if comparison.failure(workload.plan.name, peer.name):
                        continue
                    outcome = self._outcome(workload, peer, round_number)
                    if isinstance(outcome, Run):
                        comparison.runs.append(outcome)
                    else:
                        comparison.failures.append(outcome)
                    yield outcome

    def _outcome(self, workload: Workload, peer: Peer, round_number: int) -> Run | Failure:
        name = workload.plan.name
        try:
            return Run(name, peer.name, round_number, self._measure(workload, peer))
        except (StepError, OSError) as error:
            return Failure(name, peer.name, str(error))

    def _measure(self, workload: Workload, peer: Peer) -> Measured:
        plan = workload.plan
        with running(peer, self._folder / "receiver", plan.environ) as receiver:
            count = plan.counts.full
            if plan.counts.warm_up:
                warm_up = workload.run(receiver, self._supplies, plan.counts.warm_up)
                count = self._counts.setdefault((plan.name, peer.name), _count(plan, warm_up.value))
            # What others wrote before must not be written back while this run syncs its own.
            os.sync()
            return workload.run(receiver, self._supplies, count)


def _count(plan: Plan, rate: float) -> int:
    """Return how many operations a peer of this `rate` a second is given."""
    return plan.counts.full if plan.counts.full <= rate * LONG_SECONDS else plan.counts.slow
