"""The power fails at many moments of a recorded run: what was acknowledged before is there after a start.

PACSLITE_POWER_IMAGES says on how many images per file system a node is started.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import forgetful_node
from support.block_devices import why_unavailable
from support.mounts import tmpfs
from support.power_trial import Verdict, check_power_cuts, power_cuts, power_cuts_after_restart, record

IMAGES = int(os.environ.get("PACSLITE_POWER_IMAGES", "1000"))
IMAGES_PER_RECORD = 100
CONTROL_IMAGES = max(10, min(100, IMAGES // 4))
SEED = 20_240_229
NOTHING_SYNCED = (forgetful_node.FILES, forgetful_node.FOLDERS, forgetful_node.INDEX)

pytestmark = [pytest.mark.campaign, pytest.mark.parametrize("kind", ["ext4", "xfs"])]


@pytest.fixture
def workshop(kind: str, tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory for disks, where this machine can make and mount them."""
    lack = why_unavailable(kind)
    if lack is not None:
        pytest.skip(f"no power can be cut on this machine: {lack}")
    with tmpfs(tmp_path / "memory", "size=2g") as folder:
        yield folder


def report(kind: str, what: str, verdict: Verdict, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\npower cut, {kind}, {what}: {verdict}")  # noqa: T201 - the run's figures


@pytest.mark.timeout(120 + 2 * IMAGES)
def test_no_acknowledged_instance_is_lost(
    kind: str, workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    total = Verdict()
    for first in range(0, IMAGES, IMAGES_PER_RECORD):
        count = min(IMAGES_PER_RECORD, IMAGES - first)
        with record(kind, workshop / str(first), SEED + first) as recorded:
            total += check_power_cuts(recorded, power_cuts(recorded, count, SEED + first))
    report(kind, "pacslite", total, capsys)
    assert total.checked == IMAGES
    assert total.losses == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("commit", [5, 20, 21])
def test_what_a_kill_left_unsynced_in_the_log_is_not_built_upon(
    kind: str, commit: int, workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # killed between write and sync of a commit, which whoever reads the log after it finds whole all the same
    fault = f"inject=fdatasync:delay_enter=30000000:when={commit}"
    tracer = ["-P", "{log}", "-e", fault, "-o", "/dev/null"]
    with record(kind, workshop / "record", SEED, tracer=tracer) as recorded:
        cuts = power_cuts_after_restart(recorded, CONTROL_IMAGES, SEED)
        verdict = check_power_cuts(recorded, cuts)
    report(kind, f"after a kill within commit {commit}", verdict, capsys)
    assert verdict.losses == []


@pytest.mark.timeout(120 + 2 * CONTROL_IMAGES)
@pytest.mark.parametrize(
    ("forgotten", "least_share"),
    [
        (NOTHING_SYNCED, 0.9),
        ([forgetful_node.FILES], 0.9),
        ([forgetful_node.INDEX], 0.9),
        ([forgetful_node.FOLDERS], 0.9),
        # a checkpoint syncs now and then: right after one there is nothing to lose
        ([forgetful_node.INDEX_COMMITS], 0.5),
    ],
    ids=["nothing", "files", "index", "folders", "index-commits"],
)
def test_a_node_that_does_not_sync_is_found_out(
    kind: str,
    forgotten: list[str],
    least_share: float,
    workshop: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = forgetful_node.program(*forgotten)
    with record(kind, workshop / "record", SEED, program) as recorded:
        cuts = power_cuts(recorded, CONTROL_IMAGES, SEED, is_promise_needed=True)
        verdict = check_power_cuts(recorded, cuts)
    report(kind, f"without syncs of {', '.join(forgotten)}", verdict, capsys)
    assert len(verdict.losses) >= least_share * verdict.checked
