"""SIGTERM: what is under way is finished, a stuck peer holds nothing up, the next start is clean."""

import os
import signal
import time
from pathlib import Path

from support import pdus
from support.acknowledged_sender import Ledger, sending
from support.invariant import check_archive
from support.processes import NodeProcess
from support.scripted_peer import ScriptedPeer

from pacslite.cli.exits import ExitCode

DRAIN_SECONDS = 2.0
SLACK_SECONDS = 2.5
"""For closing the archives on a busy machine."""


def started_again_cleanly(data_folder: Path, ledger: Ledger) -> bool:
    """Check the archive, then start a node on it; return whether it found nothing to recover."""
    check_archive(data_folder, ledger, is_running=False)
    with NodeProcess(data_folder) as node:
        assert node.address
        check_archive(data_folder, ledger, is_running=True)
        return node.events("store.recovered") == []


def half_sent(address: tuple[str, int]) -> ScriptedPeer:
    """Return a peer that has sent half an instance and will say no more."""
    peer = ScriptedPeer.connect(address)
    peer.associate()
    message = pdus.store_pdus("1.2.3.4", pdus.ct_data_set("1.2.3.4", 3_000_000))
    peer.send(message[: len(message) // 2])
    return peer


def test_instances_under_way_are_finished(tmp_path: Path) -> None:
    ledger = Ledger()
    with NodeProcess(tmp_path) as node, sending(node.address, ledger, 1) as sender:
        sender.wait_for_an_answer()
        time.sleep(0.2)
        node.terminate()
        time.sleep(0.1)  # instances are in the middle of the wire when the senders are asked to end
        sender.stop()
        assert sender.cut_off == []
        assert ledger.refusals == []
        assert node.wait(5) == ExitCode.OK
    assert ledger.sent == ledger.acknowledged
    assert started_again_cleanly(tmp_path, ledger)


def _accepts(address: tuple[str, int]) -> bool:
    try:
        ScriptedPeer.connect(address, deadline_seconds=1.0).close()
    except OSError:
        return False
    return True


def test_senders_that_do_not_end_are_cut_off_in_time(tmp_path: Path) -> None:
    ledger = Ledger()
    with (
        NodeProcess(tmp_path, settings={"association.drain_seconds": 1.0}) as node,
        sending(node.address, ledger, 2) as sender,
    ):
        sender.wait_for_an_answer()
        node.terminate()
        assert node.wait(1.0 + SLACK_SECONDS) == ExitCode.OK
        sender.join()
        assert len(sender.cut_off) == 4
    assert started_again_cleanly(tmp_path, ledger)


def test_a_node_that_drains_listens_no_more_and_is_not_held_up(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, settings={"association.drain_seconds": DRAIN_SECONDS}) as node:
        address = node.address
        with half_sent(address) as stuck, ScriptedPeer.connect(address) as idle:
            idle.associate()
            started = time.monotonic()
            node.terminate()
            node.wait_for(lambda: not _accepts(address), "end of listening", 1.0)
            idle.expect_abort(0, 0)
            assert time.monotonic() - started < DRAIN_SECONDS
            assert node.wait(DRAIN_SECONDS + SLACK_SECONDS) == ExitCode.OK
            assert time.monotonic() - started >= DRAIN_SECONDS
            stuck.expect_abort(0, 0)
    assert started_again_cleanly(tmp_path, Ledger())


def test_idle_associations_do_not_wait_for_the_deadline(tmp_path: Path) -> None:
    with NodeProcess(tmp_path) as node, ScriptedPeer.connect(node.address) as idle:
        idle.associate()
        node.terminate()
        assert node.wait(5) == ExitCode.OK
        idle.expect_abort(0, 0)


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with NodeProcess(tmp_path) as node, half_sent(node.address) as stuck:
        node.terminate()
        time.sleep(0.3)
        assert node.is_running()
        os.kill(node.pid, signal.SIGTERM)
        assert node.wait(SLACK_SECONDS) == ExitCode.INTERRUPTED
        stuck.expect_abort(0, 0)
    assert started_again_cleanly(tmp_path, Ledger())
