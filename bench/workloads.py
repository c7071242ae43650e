"""What is measured: each workload does one kind of work with a running receiver and returns one figure."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Final, Protocol

from bench.data import MIB, Batch, Supplies
from bench.peers import Receiver
from bench.processes import StepError, run_together
from bench.sampling import MemorySampler, cpu_seconds

SEND_SECONDS: Final = 600.0
"""Longest wait for senders."""

_IDLE_ANSWER_SECONDS: Final = 5.0
_PLAIN: Final[Mapping[str, str]] = MappingProxyType({})
_NO_DELAY: Final[Mapping[str, str]] = MappingProxyType({"TCP_NODELAY": "1"})


@dataclass(frozen=True)
class Scale:
    """How much work a run is; rates are per second, so that slow peers may be given less of it."""

    ct_count: int = 400
    small_count: int = 200
    slow_count: int = 60
    echo_count: int = 20_000
    multi_frame_mib: int = 512
    idle_associations: int = 500
    idle_seconds: float = 10.0


QUICK: Final = Scale(8, 8, 8, 100, 64, 20, 1.0)
"""Enough to see that everything works; its figures say nothing."""


@dataclass(frozen=True)
class Counts:
    """How many operations a run has; `slow` for a peer with which `full` would take too long."""

    full: int
    slow: int
    warm_up: int


@dataclass(frozen=True)
class Measured:
    """A figure in the workload's unit, from `count` operations; `note` says what else was seen."""

    value: float
    count: int
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """What the report says about a workload, and how large its runs are.

    `environ` is set for the receiver and for the senders.
    """

    name: str
    title: str
    unit: str
    counts: Counts
    environ: Mapping[str, str] = field(default_factory=lambda: _PLAIN)
    is_less_better: bool = False


class Workload(Protocol):
    """One kind of work."""

    @property
    def plan(self) -> Plan:
        """Its name, unit and size."""

    def run(self, receiver: Receiver, supplies: Supplies, count: int) -> Measured:
        """Do `count` operations with `receiver`; raise `StepError` when it does not take them."""


@dataclass(frozen=True)
class Store:
    """DCMTK's storescu sends files of one kind on one or several associations: instances per second."""

    plan: Plan
    batch_name: str
    association_count: int = 1

    def run(self, receiver: Receiver, supplies: Supplies, count: int) -> Measured:
        """Time the senders from their start to the end of the last one."""
        batch: Batch = attrgetter(self.batch_name)(supplies)
        batch.renew()
        files = [str(file) for file in batch.files[:count]]
        parts = [files[first :: self.association_count] for first in range(self.association_count)]
        commands = [_storescu(receiver, part) for part in parts if part]
        seconds = run_together(commands, receiver.folder, receiver.environ, SEND_SECONDS)
        return Measured(len(files) / seconds, len(files))


@dataclass(frozen=True)
class Echo:
    """C-ECHO after C-ECHO on one association: round trips per second."""

    plan: Plan

    def run(self, receiver: Receiver, supplies: Supplies, count: int) -> Measured:  # noqa: ARG002 - it sends no data
        """Time the round trips, without the association's negotiation."""
        deadline = time.monotonic() + SEND_SECONDS
        with receiver.associate() as association:
            start = time.perf_counter()
            for number in range(count):
                association.echo()
                if time.monotonic() > deadline:
                    raise StepError(f"{number} C-ECHOs took {SEND_SECONDS:.0f} s")
            seconds = time.perf_counter() - start
        return Measured(count / seconds, count)


@dataclass(frozen=True)
class PeakMemory:
    """One large multi-frame instance: the receiver's peak of anonymous memory in MiB."""

    plan: Plan

    def run(self, receiver: Receiver, supplies: Supplies, count: int) -> Measured:
        """Sample the receiver and its children while the instance arrives."""
        batch = supplies.multi_frame
        batch.renew()
        command = _storescu(receiver, [str(file) for file in batch.files[:count]])
        with MemorySampler(receiver.process) as sampler:
            run_together([command], receiver.folder, receiver.environ, SEND_SECONDS)
        idle, peak = sampler.first_bytes / MIB, sampler.peak_bytes / MIB
        return Measured(peak, count, f"{idle:.0f} MiB before it came")


@dataclass(frozen=True)
class Idle:
    """Associations on which nothing happens: the receiver's CPU time in per cent of one core."""

    plan: Plan
    seconds: float

    def run(self, receiver: Receiver, supplies: Supplies, count: int) -> Measured:  # noqa: ARG002 - it sends no data
        """Open `count` associations, let them be, and read the receiver's CPU time."""
        with contextlib.ExitStack() as held:
            for number in range(count):
                try:
                    held.enter_context(receiver.associate(_IDLE_ANSWER_SECONDS))
                except StepError as error:
                    raise StepError(f"holds {number} of {count} associations: {error}") from error
            start, before = time.perf_counter(), cpu_seconds(receiver.process)
            time.sleep(self.seconds)
            used, elapsed = cpu_seconds(receiver.process) - before, time.perf_counter() - start
        return Measured(100 * used / elapsed, count)


def _storescu(receiver: Receiver, files: Sequence[str]) -> list[str]:
    host, port = receiver.address
    return ["storescu", "-aec", receiver.peer.ae_title, host, str(port), *files]


def make_workloads(scale: Scale) -> list[Workload]:
    """Return all workloads in the order of the report."""
    ct = Counts(scale.ct_count, min(scale.slow_count, scale.ct_count), min(20, scale.ct_count))
    small = Counts(scale.small_count, min(scale.slow_count, scale.small_count), min(20, scale.small_count))
    echo = Counts(scale.echo_count, max(1, scale.echo_count // 20), min(100, scale.echo_count))
    once = Counts(1, 1, 0)
    idle = Counts(scale.idle_associations, scale.idle_associations, 0)
    # A node holds 200 associations unless told otherwise; the peers that have such a limit are told, too.
    room = {"PACSLITE_ASSOCIATION__MAX_ASSOCIATIONS": str(2 * scale.idle_associations)}
    rate = "instances/s"
    return [
        Store(Plan("ct", "C-STORE, CT of 525 kB, 1 association, plain storescu", rate, ct), "ct"),
        Store(
            Plan(
                "ct-nodelay", "C-STORE, CT, 1 association, TCP_NODELAY=1 on both sides", rate, ct, _NO_DELAY
            ),
            "ct",
        ),
        Store(Plan("small", "C-STORE, 4 kB, 1 association, plain storescu", rate, small), "small"),
        Store(Plan("ct-parallel", "C-STORE, CT, 4 associations, plain storescu", rate, ct), "ct", 4),
        Store(
            Plan(
                "ct-parallel-nodelay",
                "C-STORE, CT, 4 associations, TCP_NODELAY=1 on both sides",
                rate,
                ct,
                _NO_DELAY,
            ),
            "ct",
            4,
        ),
        Echo(
            Plan(
                "echo",
                "C-ECHO on 1 association, TCP_NODELAY=1 on both sides",
                "round trips/s",
                echo,
                _NO_DELAY,
            )
        ),
        PeakMemory(
            Plan(
                "memory",
                f"Peak anonymous memory, one multi-frame of {scale.multi_frame_mib} MiB",
                "MiB",
                once,
                is_less_better=True,
            )
        ),
        Idle(
            Plan(
                "idle",
                f"CPU for {scale.idle_associations} idle associations",
                "% of one core",
                idle,
                room,
                is_less_better=True,
            ),
            scale.idle_seconds,
        ),
    ]
