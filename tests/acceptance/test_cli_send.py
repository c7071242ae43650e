import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from support import pdus
from support.client_runs import scripted
from support.scripted_peer import ScriptedPeer

from pacslite.settings.schema import PeerSettings
from pacslite.testing import RunningNode, make_study, write_instance

PACSLITE = (sys.executable, "-m", "pacslite")


def pacslite(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*PACSLITE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def peer_text(node: RunningNode) -> str:
    return f"{node.ae_title}@{node.host}:{node.port}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder of three instances and a text."""
    for number, instance in enumerate(make_study(instances_per_series=3)):
        write_instance(tmp_path / "study" / f"{number}.dcm", instance)
    (tmp_path / "study" / "notes.txt").write_text("not DICOM")
    return tmp_path / "study"


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_echo_tells_how_long_it_took(pacs: RunningNode) -> None:
    result = pacslite("echo", peer_text(pacs))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{peer_text(pacs)} answered 0000 in ")
    as_json = json.loads(pacslite("echo", peer_text(pacs), "--json").stdout)
    assert (as_json["peer"], as_json["status"]) == (peer_text(pacs), "0000")
    assert as_json["round_trip_seconds"] > 0


def test_a_peer_of_the_settings_is_found_by_name(pacs: RunningNode, tmp_path: Path) -> None:
    config = tmp_path / "pacslite.yaml"
    config.write_text(
        f"peers: [{{name: self, ae_title: {pacs.ae_title}, host: 127.0.0.1, port: {pacs.port}}}]"
    )
    assert pacslite("echo", "self", "--config", config).returncode == 0
    unknown = pacslite("echo", "sefl", "--config", config)
    assert unknown.returncode == 3
    assert "did you mean 'self'?" in unknown.stderr


@pytest.mark.parametrize("command", ["echo", "send"])
def test_a_peer_that_is_not_there(command: str, folder: Path, closed_port: int) -> None:
    paths = [folder] if command == "send" else []
    result = pacslite(command, f"X@127.0.0.1:{closed_port}", *paths)
    assert result.returncode == 5
    assert result.stderr == f"pacslite: X@127.0.0.1:{closed_port}: Connection refused\n"


def test_a_mute_peer_does_not_hold_echo_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = pacslite("echo", f"X@127.0.0.1:{server.getsockname()[1]}", "--timeout", "0.2")
    assert result.returncode == 5
    assert "did not answer in time" in result.stderr


def test_a_calling_title_that_is_none() -> None:
    result = pacslite("echo", "X@127.0.0.1", "--calling", "SEVENTEEN-LETTERS")
    assert result.returncode == 2
    assert "1 to 16 characters" in result.stderr


def test_send_tells_of_each_file(pacs: RunningNode, folder: Path) -> None:
    result = pacslite("send", peer_text(pacs), folder, "--calling", "SENDER")
    assert (result.returncode, result.stderr) == (0, "")
    *lines, summary = result.stdout.splitlines()
    assert sorted(lines) == [
        f"skipped {folder / 'notes.txt'}: not DICOM",
        *(f"stored  {folder / str(number)}.dcm" for number in range(3)),
    ]
    assert summary.startswith("3 stored, 1 skipped; ")
    assert [item.provenance.calling_ae_title for item in pacs.received] == ["SENDER"] * 3


def test_send_tells_programs(pacs: RunningNode, folder: Path) -> None:
    result = pacslite("send", peer_text(pacs), folder, folder / "missing", "--json", "--associations", 2)
    assert result.returncode == 1
    *files, summary = [json.loads(line) for line in result.stdout.splitlines()]
    by_name = {Path(line["path"]).name: line for line in files}
    assert by_name["missing"]["reason"] == "No such file or directory"
    assert by_name["notes.txt"]["verdict"] == "skipped"
    uids = {by_name[f"{number}.dcm"]["sop_instance_uid"] for number in range(3)}
    assert uids == {item.sop_instance_uid for item in pacs.received}
    assert by_name["0.dcm"]["status"] == "0000"
    counts = [summary[key] for key in ("stored", "warning", "failed", "skipped", "error")]
    assert counts == [3, 0, 1, 1, None]
    assert summary["bytes"] > 3 * 8192


def test_nothing_to_send_is_a_failure(pacs: RunningNode, tmp_path: Path) -> None:
    result = pacslite("send", peer_text(pacs), tmp_path)
    assert result.returncode == 1
    assert result.stdout.startswith("nothing to send; ")


def test_a_lost_peer_is_told_after_the_files(folder: Path) -> None:
    def die(peer: ScriptedPeer) -> None:
        peer.expect(pdus.ASSOCIATE_RQ)
        peer.send(pdus.associate_ac([(1, 0, pdus.EXPLICIT)]))
        peer.expect(pdus.P_DATA)
        peer.reset()

    with scripted(*[die] * 4) as peer:
        result = pacslite("send", peer, folder)
    assert result.returncode == 5
    assert result.stdout.splitlines()[-1].startswith("3 failed, 1 skipped; ")
    assert result.stderr.splitlines()[-1].startswith(f"pacslite: {peer}: ")


def _interrupted(
    command: Sequence[str], started: Path, number: signal.Signals
) -> subprocess.CompletedProcess[str]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    output, errors = process.communicate(timeout=20)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


@pytest.mark.parametrize("command", ["echo", "send"])
def test_control_c_aborts_cleanly(command: str, folder: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"

    def hold(peer: ScriptedPeer) -> None:
        peer.expect(pdus.ASSOCIATE_RQ)
        peer.send(pdus.associate_ac([(1, 0, pdus.IMPLICIT if command == "echo" else pdus.EXPLICIT)]))
        peer.expect(pdus.P_DATA)
        started.touch()
        kind = pdus.P_DATA
        while kind == pdus.P_DATA:
            kind, _ = peer.receive()
        assert kind == pdus.ABORT
        peer.expect_closed()

    paths = [str(folder)] if command == "send" else []
    with scripted(hold) as peer:
        result = _interrupted([*PACSLITE, command, str(peer), *paths], started, signal.SIGINT)
    assert result.returncode == 130
    assert "Traceback" not in result.stderr
    if command == "send":
        assert "interrupted" in result.stderr


def test_a_terminal_gets_a_bar_and_only_what_went_wrong(pacs: RunningNode, folder: Path) -> None:
    terminal, ours = pty.openpty()
    command = [*PACSLITE, "send", peer_text(pacs), str(folder)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(command, stdout=ours, stderr=ours, env=environment)
    os.close(ours)
    shown = b""
    while True:
        try:
            more = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        shown += more
    os.close(terminal)
    assert process.wait(20) == 0
    text = shown.decode()
    assert "4 files" in text
    assert f"skipped {folder / 'notes.txt'}: not DICOM" in text
    assert "stored  " not in text
    assert "3 stored, 1 skipped; " in text


def test_peers_are_shown_as_they_are_written() -> None:
    assert str(PeerSettings(name="x", ae_title="X", host="::1", port=104)) == "X@[::1]:104"
