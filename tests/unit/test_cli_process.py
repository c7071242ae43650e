import json
import signal
import socket
from pathlib import Path

from support.processes import NodeProcess, run_serve


def test_a_process_serves_until_sigterm(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "data", "--aet", "FIXTURE") as process:
        assert process.announcement["ae_title"] == "FIXTURE"
        assert process.announcement["data_folder"] == str(tmp_path / "data")
        socket.create_connection(process.address, timeout=5).close()
        assert (tmp_path / "data" / "lock").read_text().strip() == str(process.pid)
        process.terminate()
        assert process.wait(30) == 0
        assert "Traceback" not in process.log


def test_a_second_node_on_the_folder_is_told_who_has_it(tmp_path: Path) -> None:
    with NodeProcess(tmp_path) as process:
        pid = process.pid
        second = run_serve("--port", "0", "--data", str(tmp_path))
    assert (second.returncode, second.stdout) == (4, "")
    assert f"is in use by process {pid}" in second.stderr


def test_a_busy_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_serve("--port", str(port), "--data", str(tmp_path))
    assert (result.returncode, result.stdout) == (3, "")
    assert f"pacslite: cannot listen on 127.0.0.1 port {port}" in result.stderr
    assert "Traceback" not in result.stderr


def test_sighup_takes_the_peers_of_the_changed_file(tmp_path: Path) -> None:
    config = tmp_path / "pacslite.yaml"
    config.write_text("peers: []\n")
    with NodeProcess(tmp_path / "data", "--config", str(config)) as process:
        assert process.announcement["event"] == "listening"
        config.write_text(json.dumps({"peers": [{"name": "ct", "ae_title": "CT1", "host": "127.0.0.1"}]}))
        signal_and_wait(process, "peers.reloaded")
        assert [event["peers"] for event in process.events("peers.reloaded")] == [1]
        config.write_text("peers: [{name: ct}]\n")
        signal_and_wait(process, "peers.kept")
        (kept,) = process.events("peers.kept")
        assert "peers.0.ae_title: is missing" in kept["reason"]


def signal_and_wait(process: NodeProcess, event: str) -> None:
    process._process.send_signal(signal.SIGHUP)
    process.wait_for(lambda: process.events(event), event)
