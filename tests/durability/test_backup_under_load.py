"""A backup of the real process while four associations send, restored elsewhere."""

import hashlib
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from support.acknowledged_sender import Ledger, sending
from support.invariant import archive_folder, check_archive, rows_of
from support.processes import NodeProcess, environment

SEED = 4_711
LARGEST_BYTES = 400_000


def pacslite(*arguments: object) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "pacslite", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment({}),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def kept(data_folder: Path) -> dict[str, set[str]]:
    """Return the digests of the data sets that an archive names, by SOP Instance UID."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows_of(data_folder):
        data = (archive_folder(data_folder) / "store" / row.path).read_bytes()
        found[row.uid].add(hashlib.sha256(data[row.data_set_offset :]).hexdigest())
    return found


@pytest.mark.timeout(180)
def test_what_was_acknowledged_before_a_backup_is_in_it_byte_for_byte(tmp_path: Path) -> None:
    ledger = Ledger()
    promised: dict[str, set[str]] = {}
    with NodeProcess(tmp_path / "data", settings={"storage.segment_files": 32}) as node:
        with sending(node.address, ledger, SEED, largest_bytes=LARGEST_BYTES) as sender:
            sender.wait_for_an_answer()
            for _ in range(2):
                promised = {uid: set(digests) for uid, digests in dict(ledger.acknowledged).items()}
                pacslite("backup", tmp_path / "backup", "--data", tmp_path / "data")
                during = ledger.acknowledged_count - sum(map(len, promised.values()))
                assert during > 0, "nothing was sent meanwhile"
        assert not sender.cut_off
        assert not ledger.refusals
        check_archive(tmp_path / "data", ledger, is_running=True)
        pacslite("restore", tmp_path / "backup", "--data", tmp_path / "other")
        restored = kept(tmp_path / "other")
        for uid, digests in promised.items():
            assert digests <= restored[uid], f"acknowledged before the backup, and not in it: {uid}"
        assert all(digests <= ledger.sent[uid] for uid, digests in restored.items())
        node.terminate()
        assert node.wait(30) == 0
    with NodeProcess(tmp_path / "other") as node:
        assert node.address
        again = Ledger(sent=ledger.sent, acknowledged=defaultdict(set, promised))
        check_archive(tmp_path / "other", again, is_running=True)
        node.terminate()
        assert node.wait(30) == 0
