"""kill -9 of the real process: what was acknowledged is there afterwards, and nothing else is."""

import os
import random
import time
from pathlib import Path

import pytest
from support.acknowledged_sender import Ledger, sending
from support.invariant import check_archive
from support.processes import NodeProcess

ROUNDS = 5
CAMPAIGN_ROUNDS = int(os.environ.get("PACSLITE_KILL_ROUNDS", "50"))
SEED = 20_240_229
LONGEST_LOAD_SECONDS = 0.8
POLICIES = ("keep-first", "replace")
"""Those under which every version of an instance is acknowledged, and kept."""


def kill_under_load(data_folder: Path, ledger: Ledger, seed: int) -> None:
    """Check what the last kill left, then send on four associations and kill the node at a random moment."""
    rng = random.Random(seed)
    settings = {
        "archives": [{"name": "main", "duplicate_policy": rng.choice(POLICIES)}],
        "storage.segment_files": 32,
    }
    with NodeProcess(data_folder, settings=settings) as node:
        address = node.address
        check_archive(data_folder, ledger, is_running=True)
        with sending(address, ledger, seed) as sender:
            if rng.random() < 0.8:
                sender.wait_for_an_answer()
            time.sleep(rng.uniform(0, LONGEST_LOAD_SECONDS))
            node.kill()
        assert len(sender.cut_off) == 4
    assert not ledger.refusals


def check_after_kills(data_folder: Path, ledger: Ledger) -> None:
    """Check what a start makes of the folder, and that a clean stop leaves nothing to recover."""
    with NodeProcess(data_folder) as node:
        assert node.address
        check_archive(data_folder, ledger, is_running=True)
        node.terminate()
        assert node.wait(10) == 0
        check_archive(data_folder, ledger, is_running=False)


def run_rounds(data_folder: Path, count: int) -> Ledger:
    ledger = Ledger()
    for number in range(count):
        kill_under_load(data_folder, ledger, SEED + number)
    check_after_kills(data_folder, ledger)
    return ledger


@pytest.mark.timeout(120)
def test_kill_under_four_associations_loses_nothing_acknowledged(tmp_path: Path) -> None:
    ledger = run_rounds(tmp_path / "data", ROUNDS)
    assert ledger.acknowledged_count >= ROUNDS


@pytest.mark.campaign
@pytest.mark.timeout(60 + 10 * CAMPAIGN_ROUNDS)
def test_kill_campaign_loses_nothing_acknowledged(tmp_path: Path) -> None:
    ledger = Ledger()
    for first in range(0, CAMPAIGN_ROUNDS, 10):  # a new folder now and then: checking an old one takes longer
        folder = tmp_path / str(first)
        for number in range(first, min(first + 10, CAMPAIGN_ROUNDS)):
            kill_under_load(folder, ledger, 7 * SEED + number)
        check_after_kills(folder, ledger)
        ledger = Ledger()


def test_kill_during_recovery_loses_nothing_acknowledged(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    ledger = Ledger()
    settings = {"storage.segment_files": 1000}  # many empty files to remove
    with NodeProcess(tmp_path, settings=settings) as node, sending(node.address, ledger, SEED) as sender:
        sender.wait_for_an_answer()
        time.sleep(0.2)
        node.kill()
    for _ in range(3):
        with NodeProcess(tmp_path, settings=settings) as node:
            node.wait_until_folder_is_taken()
            time.sleep(rng.uniform(0, 0.08))
            node.kill()
    check_after_kills(tmp_path, ledger)


def test_kill_during_the_first_start_leaves_a_folder_that_works(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    for number in range(3):
        folder = tmp_path / str(number)
        with NodeProcess(folder) as node:
            node.wait_until_folder_is_taken()
            time.sleep(rng.uniform(0, 0.35))
            node.kill()
        ledger = Ledger()
        with NodeProcess(folder) as node, sending(node.address, ledger, SEED) as sender:
            sender.wait_for_an_answer()
            sender.stop()
            assert not sender.cut_off
            check_archive(folder, ledger, is_running=True)
