"""`python -m bench.reindex`: how fast `pacslite reindex` makes an index anew from instances of 4 kB."""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from bench.data import SMALL, Batch
from bench.machine import facts
from bench.processes import environment
from pacslite.model.instances import Provenance
from pacslite.storage.part10 import build_part10_head, parse_part10_head

SEGMENT_FILES: Final = 256
STUDY_INSTANCES: Final = 200

_FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)


def fill_store(data_folder: Path, count: int) -> None:
    """Write a store as a node would have, of `count` instances in studies of 200."""
    store = data_folder / "archives" / "main" / "store" / "node1"
    store.mkdir(parents=True)
    batch = Batch(data_folder / "batch", SMALL, min(count, STUDY_INSTANCES))
    for number in range(count):
        if number % STUDY_INSTANCES == 0:
            batch.renew()
        segment = store / f"{number // SEGMENT_FILES:016x}"
        segment.mkdir(exist_ok=True)
        source = batch.files[number % STUDY_INSTANCES].read_bytes()
        (segment / f"{number % SEGMENT_FILES:04x}.dcm").write_bytes(_as_received(source, number))
    shutil.rmtree(data_folder / "batch")


def _as_received(source: bytes, number: int) -> bytes:
    head = parse_part10_head(source)
    provenance = Provenance(
        received_at=_FIRST + timedelta(milliseconds=number),
        calling_ae_title="BENCH",
        called_ae_title="PACSLITE",
        peer_address="127.0.0.1:40000",
        local_address="127.0.0.1:11112",
        association_id=f"a{number // STUDY_INSTANCES}",
    )
    return build_part10_head(head.key, provenance, number) + source[head.data_set_offset :]


def measure(data_folder: Path) -> dict[str, Any]:
    """Run the command once, as a keeper would, and return what it reports."""
    command = [sys.executable, "-m", "pacslite", "reindex", "--json", "--data", str(data_folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment({}))
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def main(arguments: list[str] | None = None) -> int:
    """Measure without and with a former index, and print instances per second; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.reindex", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, metavar="N", help="instances (default: 20,000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs (default: 3)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), metavar="DIR")
    chosen = parser.parse_args(arguments)
    for name, value in facts(chosen.folder).items():
        print(f"{name}: {value}")
    with tempfile.TemporaryDirectory(prefix="pacslite-bench-", dir=chosen.folder) as folder:
        data_folder = Path(folder) / "data"
        fill_store(data_folder, chosen.count)
        for number in range(1, chosen.rounds + 1):
            for is_lost in (True, False):
                if is_lost:
                    (data_folder / "archives" / "main" / "index.sqlite").unlink(missing_ok=True)
                report = measure(data_folder)
                if report["instances"] != chosen.count:
                    print(f"{report['instances']} instances in place of {chosen.count}", file=sys.stderr)
                    return 1
                rate = report["files"] / report["seconds"]
                print(f"round {number}, {'without' if is_lost else 'with'} a former index: {rate:,.0f}/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
