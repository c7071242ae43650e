"""`python -m bench`: compare pacslite with the receivers installed on this machine."""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.data import Supplies
from bench.machine import facts, filesystem_type
from bench.measure import Comparison, Failure, Run, Runner
from bench.peers import OURS, PEERS, Peer, program
from bench.plot import svg
from bench.report import Setting, as_json, figure, markdown
from bench.workloads import QUICK, Scale, Workload, make_workloads

RESULTS: Final = Path(__file__).parent / "results"

_FREE_BYTES: Final = 6 * 2**30
"""The supplies, one receiver's data, and pacslite's reserve on the disk."""

_MEMORY_FILE_SYSTEMS: Final = ("tmpfs", "ramfs")


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    peers: list[Peer]
    workloads: list[Workload]
    scale: Scale
    rounds: int
    is_quick: bool
    json_file: Path | None
    results: Path | None
    folder: Path


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Return the options; a wrong one ends the process with code 2."""
    names, works = [peer.name for peer in PEERS], [work.plan.name for work in make_workloads(Scale())]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("--peers", nargs="+", choices=names, default=names, metavar="PEER", help=", ".join(names))
    add("--workloads", nargs="+", choices=works, default=works, metavar="WORK", help=", ".join(works))
    add("--rounds", type=int, metavar="N", help="runs of each peer and workload (default: 3; quick: 1)")
    add("--quick", action="store_true", help="little work: does everything run?")
    add("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    add("--write", action="store_true", help="write latest.md, .json and .svg to bench/results")
    add("--out", type=Path, metavar="DIR", help="write them to DIR instead")
    add(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()),
        metavar="DIR",
        help="a folder on the disk to measure (default: the system's temporary folder)",
    )
    chosen = parser.parse_args(arguments)
    rounds = chosen.rounds if chosen.rounds is not None else 1 if chosen.quick else 3
    if rounds < 1:
        parser.error("--rounds: at least 1")
    scale = QUICK if chosen.quick else Scale()
    return Options(
        # pacslite always runs: the others are compared with it.
        peers=[peer for peer in PEERS if peer.name in {OURS, *chosen.peers}],
        workloads=[work for work in make_workloads(scale) if work.plan.name in chosen.workloads],
        scale=scale,
        rounds=rounds,
        is_quick=chosen.quick,
        json_file=chosen.json,
        results=chosen.out or (RESULTS if chosen.write else None),
        folder=chosen.folder,
    )


def main() -> int:
    """Measure and report; return 0, 1 when pacslite failed a workload, 2 when nothing can be measured."""
    options = parse()
    # A shell starts background jobs with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if obstacle := _obstacle(options):
        _say(obstacle)
        return 2
    versions = {peer.name: peer.version() for peer in options.peers}
    peers = [peer for peer in options.peers if versions[peer.name]]
    setting = Setting(
        facts=facts(options.folder),
        peers={peer.name: f"{peer.title}; version {versions[peer.name]}" for peer in peers},
        missing={peer.name: peer.title for peer in options.peers if not versions[peer.name]},
        rounds=options.rounds,
        is_quick=options.is_quick,
    )
    for name in setting.missing:
        _say(f"{name} is not installed and left out")
    comparison = Comparison([work.plan for work in options.workloads], [peer.name for peer in peers])
    is_complete = _measure(options, peers, comparison)
    _publish(options, comparison, setting)
    if not is_complete:
        return 130
    return 1 if any(failure.peer == OURS for failure in comparison.failures) else 0


def _obstacle(options: Options) -> str | None:
    """Return why nothing can be measured."""
    if program("storescu") is None:
        return "storescu (DCMTK) sends everything that is compared, and is not installed"
    if options.peers[0].version() is None:
        return f"{OURS} itself is not installed here"
    if shutil.disk_usage(options.folder).free < _FREE_BYTES:
        return f"{options.folder} has less than {_FREE_BYTES // 2**30} GiB left"
    if filesystem_type(options.folder) in _MEMORY_FILE_SYSTEMS:
        _say(f"warning: {options.folder} is in memory, where a sync costs nothing; see --folder")
    return None


def _measure(options: Options, peers: Sequence[Peer], comparison: Comparison) -> bool:
    """Fill `comparison`; return False when it was interrupted."""
    total = len(options.workloads) * len(peers) * options.rounds
    with tempfile.TemporaryDirectory(prefix="pacslite-bench-", dir=options.folder) as name:
        scale = options.scale
        (sent := Path(name) / "sent").mkdir()
        supplies = Supplies(sent, scale.ct_count, scale.small_count, scale.multi_frame_mib * 2**20)
        runner = Runner(Path(name), supplies, options.rounds)
        try:
            for number, outcome in enumerate(runner.run(comparison, options.workloads, peers), 1):
                _say(f"[{number}/{total}] {_told(outcome, comparison)}")
        except KeyboardInterrupt:
            _say("interrupted; the report holds what was measured until now")
            return False
    return True


def _told(outcome: Run | Failure, comparison: Comparison) -> str:
    if isinstance(outcome, Failure):
        return f"{outcome.workload}, {outcome.peer}: failed: {outcome.reason}"
    unit = next(plan.unit for plan in comparison.plans if plan.name == outcome.workload)
    measured = outcome.measured
    about = f"{outcome.workload}, round {outcome.round_number}, {outcome.peer}"
    return f"{about}: {figure(measured.value)} {unit} ({measured.count} operations)"


def _publish(options: Options, comparison: Comparison, setting: Setting) -> None:
    """Print the table, and write the files that were asked for."""
    page = markdown(comparison, setting)
    figures = json.dumps(as_json(comparison, setting), indent=2, ensure_ascii=False) + "\n"
    print(page)
    if options.json_file:
        options.json_file.write_text(figures)
    if options.results:
        options.results.mkdir(parents=True, exist_ok=True)
        (options.results / "latest.json").write_text(figures)
        (options.results / "latest.svg").write_text(svg(comparison))
        (options.results / "latest.md").write_text(page + "\n![Medians as bars](latest.svg)\n")


def _say(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
