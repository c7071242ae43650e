import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SERVE = (sys.executable, "-m", "pacslite", "serve", "--port", "0", "--json")


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("PACSLITE_")}


@contextmanager
def node(*arguments: object) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    command = [*SERVE, *(str(argument) for argument in arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def test_a_process_serves_until_sigterm(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with node("--data", data, "--aet", "FIXTURE") as (process, event):
        assert event["pid"] == process.pid
        assert event["ae_title"] == "FIXTURE"
        (address,) = event["addresses"]
        socket.create_connection((address["host"], address["port"]), timeout=5).close()
        assert (data / "lock").read_text().strip() == str(process.pid)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (0, "")
        assert "Traceback" not in err


def test_a_second_node_on_the_folder_is_told_who_has_it(tmp_path: Path) -> None:
    with node("--data", tmp_path) as (process, _):
        second = subprocess.run(
            [*SERVE, "--data", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=environment(),
        )
        assert second.returncode == 4
        assert second.stdout == ""
        assert f"is in use by process {process.pid}" in second.stderr


def test_a_busy_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, "-m", "pacslite", "serve", "--port", str(port), "--data", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=environment(),
        )
    assert result.returncode == 3
    assert f"pacslite: cannot listen on 127.0.0.1 port {port}" in result.stderr
    assert "Traceback" not in result.stderr


def test_sighup_takes_the_peers_of_the_changed_file(tmp_path: Path) -> None:
    config = tmp_path / "pacslite.yaml"
    config.write_text("peers: []\nlogging: {format: json}\n")
    with node("--config", config, "--data", tmp_path / "data") as (process, _):
        assert process.stderr
        config.write_text("peers: [{name: ct, ae_title: CT1, host: 127.0.0.1}]\n")
        process.send_signal(signal.SIGHUP)
        events = (json.loads(line) for line in process.stderr)
        reloaded = next(event for event in events if event["event"] == "peers.reloaded")
        assert reloaded["peers"] == 1
        config.write_text("peers: [{name: ct}]\n")
        process.send_signal(signal.SIGHUP)
        kept = next(event for event in events if event["event"] == "peers.kept")
        assert "peers.0.ae_title: is missing" in kept["reason"]
