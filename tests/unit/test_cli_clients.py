import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from support.command_line import run
from support.processes import NodeProcess

CT = Path(str(get_testdata_file("CT_small.dcm")))
MR = Path(str(get_testdata_file("MR_small.dcm")))


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with NodeProcess(tmp_path_factory.mktemp("data"), "--aet", "PEER") as process:
        yield f"PEER@127.0.0.1:{process.address[1]}"


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_echo_says_how_long_it_took(peer: str) -> None:
    result = run("echo", peer)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{peer} answered 0000 in ")
    assert result.stderr == ""


def test_echo_for_machines(peer: str) -> None:
    result = run("echo", peer, "--json", "--calling", "ME", "--timeout", "5")
    assert result.exit_code == 0
    values = json.loads(result.stdout)
    assert (values["peer"], values["status"]) == (peer, "0000")
    assert values["round_trip_seconds"] > 0


def test_echo_finds_a_peer_of_the_settings(peer: str, tmp_path: Path) -> None:
    config = tmp_path / "pacslite.yaml"
    config.write_text(
        f"peers: [{{name: self, ae_title: PEER, host: 127.0.0.1, port: {peer.rpartition(':')[2]}}}]\n"
    )
    assert run("echo", "--config", config, "self").exit_code == 0
    unknown = run("echo", "--config", config, "sefl")
    assert unknown.exit_code == 3
    assert "did you mean 'self'?" in unknown.stderr


@pytest.mark.parametrize("command", [["echo"], ["send"]])
def test_a_peer_that_is_not_there(command: list[str], closed_port: int) -> None:
    files = [CT] if command == ["send"] else []
    result = run(*command, f"PEER@127.0.0.1:{closed_port}", *files)
    assert result.exit_code == 5
    assert result.stdout == ""
    assert "Connection refused" in result.stderr.splitlines()[-1]
    assert result.stderr.splitlines()[-1].startswith("pacslite: ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [["echo", "X@127.0.0.1:1"], ["send", "X@127.0.0.1:1", str(CT)]])
def test_a_bad_calling_title_is_told(command: list[str]) -> None:
    result = run(*command, "--calling", "SEVENTEEN_LETTERS")
    assert result.exit_code == 2
    assert "an AE title has 1 to 16 characters" in result.stderr


def test_send_takes_files_and_folders(peer: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(MR, folder / "deep" / "mr.dcm")
    (folder / "notes.txt").write_text("not DICOM")
    result = run("send", peer, CT, folder)
    assert (result.exit_code, result.stderr) == (0, "")
    *files, summary = result.stdout.splitlines()
    assert set(files) == {
        f"stored  {CT}",
        f"stored  {folder / 'deep' / 'mr.dcm'}",
        f"skipped {folder / 'notes.txt'}: not DICOM",
    }
    assert summary.startswith("2 stored, 1 skipped; ")


def test_send_names_each_failure(peer: str, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not DICOM")
    missing = tmp_path / "missing.dcm"
    result = run("send", peer, CT, text, missing)
    assert result.exit_code == 1
    assert f"failed  {text}: not DICOM\n" in result.stdout
    assert f"failed  {missing}: No such file or directory\n" in result.stdout
    assert "1 stored, 2 failed; " in result.stdout


def test_send_for_machines(peer: str, tmp_path: Path) -> None:
    missing = tmp_path / "missing.dcm"
    result = run("send", peer, CT, MR, missing, "--json", "--associations", "2")
    assert result.exit_code == 1
    *files, summary = (json.loads(line) for line in result.stdout.splitlines())
    assert {file["path"]: (file["verdict"], file["status"]) for file in files} == {
        str(CT): ("stored", "0000"),
        str(MR): ("stored", "0000"),
        str(missing): ("failed", None),
    }
    counts = {name: summary[name] for name in ("stored", "warning", "failed", "skipped", "error")}
    assert counts == {"stored": 2, "warning": 0, "failed": 1, "skipped": 0, "error": None}
    assert summary["bytes"] > 40_000


def test_a_refusal_is_told_with_its_status(peer: str, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.dcm"
    data = CT.read_bytes()
    truncated.write_bytes(data[: data.index(b"\x20\x00\x0d\x00UI")])
    result = run("send", peer, truncated)
    assert result.exit_code == 1
    assert f"failed  {truncated}: C000 " in result.stdout


def test_nothing_to_send_is_a_failure(peer: str, tmp_path: Path) -> None:
    result = run("send", peer, tmp_path)
    assert result.exit_code == 1
    assert result.stdout.startswith("nothing to send; ")


def test_names_cannot_steer_the_terminal(peer: str, tmp_path: Path) -> None:
    result = run("send", peer, tmp_path / "\x1b[2J[bold]\n.dcm")
    assert "\x1b" not in result.output
    assert "[bold]" in result.stdout
    assert result.stdout.count("\n") == 2
