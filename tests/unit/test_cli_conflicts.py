import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import run
from support.instances import Instance, make_instance, unique_uid
from support.kept import archive_of, indexed, stored_data_set
from support.nodes import RunningNode, running_node
from support.raw_sender import store


def version(number: int, uid: str, name: str) -> Instance:
    names: dict[str, Any] = {
        "StudyInstanceUID": f"{uid}.1",
        "SeriesInstanceUID": f"{uid}.2",
        "PatientName": name,
    }
    return make_instance(SOPInstanceUID=uid, pixels=bytes([number]) * 1000, **names)


@pytest.fixture
def uid() -> str:
    return unique_uid()


@pytest.fixture
def versions(uid: str) -> tuple[Instance, Instance]:
    return version(1, uid, "Doe^Jane"), version(2, uid, "Roe^Rick")


@pytest.fixture
def node(tmp_path: Path, versions: tuple[Instance, Instance]) -> Iterator[RunningNode]:
    """A running node with one conflict."""
    with running_node(tmp_path) as running:
        for sender, each in zip(("CT1", "CT2"), versions, strict=True):
            assert store(running.address, each, calling=sender).status == 0
        yield running


@pytest.fixture
def data(tmp_path: Path, versions: tuple[Instance, Instance]) -> Path:
    """The folder of a node with one conflict that does not run."""
    with running_node(tmp_path) as running:
        for each in versions:
            assert store(running.address, each).status == 0
    return tmp_path


def test_the_list_names_no_patient(node: RunningNode, uid: str) -> None:
    folder = node.settings.data_folder
    result = run("conflicts", "list", "--data", folder)
    assert result.exit_code == 0, result.stderr
    for text in ("newcomer", "CT2", uid, "PatientName"):
        assert text in result.stdout
    assert "Roe" not in result.stdout
    (listed,) = json.loads(run("conflicts", "list", "--data", folder, "--json").stdout)
    assert (listed["role"], listed["sop_instance_uid"]) == ("newcomer", uid)
    assert listed["current"]["origin"]["calling_ae_title"] == "CT1"


@pytest.mark.parametrize(
    ("option", "value", "count"),
    [
        ("--study", "{uid}.1", 1),
        ("--series", "{uid}.2", 1),
        ("--instance", "{uid}", 1),
        ("--role", "newcomer", 1),
        ("--role", "replaced", 0),
        ("--study", "1.2.3", 0),
        ("--limit", "1", 1),
    ],
)
def test_the_list_is_filtered(data: Path, uid: str, option: str, value: str, count: int) -> None:
    result = run("conflicts", "list", "--data", data, "--json", option, value.format(uid=uid))
    assert len(json.loads(result.stdout)) == count


def test_no_conflicts(tmp_path: Path) -> None:
    assert run("db", "upgrade", "--data", tmp_path).exit_code == 0
    assert run("conflicts", "list", "--data", tmp_path).stdout == "no conflicts\n"
    assert json.loads(run("conflicts", "list", "--data", tmp_path, "--json").stdout) == []


def test_values_are_shown_only_when_asked_for(data: Path) -> None:
    plain = run("conflicts", "show", 1, "--data", data)
    assert plain.exit_code == 0, plain.stderr
    assert "differing: PatientName, PixelData" in plain.stdout
    assert "Doe" not in plain.stdout
    assert "Doe" not in run("conflicts", "show", 1, "--data", data, "--json").stdout
    asked = run("conflicts", "show", 1, "--data", data, "--values")
    assert "PatientName\n  the archive's  Doe^Jane\n  kept aside     Roe^Rick\n" in asked.stdout
    told = json.loads(run("conflicts", "show", 1, "--data", data, "--values", "--json").stdout)
    assert told["differing"][0] == {"name": "PatientName", "current": "Doe^Jane", "aside": "Roe^Rick"}
    assert told["current"]["is_whole"] is told["aside"]["is_whole"] is True


def test_a_damaged_version_is_told(node: RunningNode, uid: str) -> None:
    (row,) = archive_of(node).reader.conflicts(uid)
    archive_of(node).store.path(row["path"]).unlink()
    result = run("conflicts", "show", 1, "--data", node.settings.data_folder, "--values")
    assert result.exit_code == 0
    assert "NO: missing or damaged" in result.stdout
    accepted = run("conflicts", "accept", 1, "--data", node.settings.data_folder)
    assert accepted.exit_code == 1
    assert "keeps aside is damaged" in accepted.stderr


def test_accept_through_the_running_node(
    node: RunningNode, uid: str, versions: tuple[Instance, Instance]
) -> None:
    result = run("conflicts", "accept", 1, "--data", node.settings.data_folder)
    assert result.exit_code == 0, result.stderr
    assert f"it is the archive's version of {uid} now" in result.stdout
    assert "node process" in result.stderr
    assert stored_data_set(node, indexed(node, uid).file) == versions[1].raw
    again = run("conflicts", "accept", 1, "--data", node.settings.data_folder)
    assert (again.exit_code, "there is no conflict 1" in again.stderr) == (1, True)


def test_accept_without_a_node(data: Path, uid: str, versions: tuple[Instance, Instance]) -> None:
    result = run("conflicts", "accept", 1, "--data", data, "--json")
    assert json.loads(result.stdout) == {"number": 1, "sop_instance_uid": uid}
    assert "no node runs" in result.stderr
    with running_node(data) as node:
        assert stored_data_set(node, indexed(node, uid).file) == versions[1].raw


def test_discard_asks_first(data: Path) -> None:
    refused = run("conflicts", "discard", 1, "--data", data)
    assert refused.exit_code == 1
    assert "was acknowledged to its sender" in refused.stderr
    assert len(list(data.rglob("*.dcm"))) == 2
    result = run("conflicts", "discard", 1, "--data", data, "--yes")
    assert (result.exit_code, result.stdout) == (0, "discarded 1\n")
    assert len(list(data.rglob("*.dcm"))) == 1
    again = run("conflicts", "discard", 1, "--data", data, "--yes", "--json")
    assert again.exit_code == 1
    assert "there is no conflict 1" in again.stderr


def test_discard_through_the_running_node(node: RunningNode, uid: str) -> None:
    result = run("conflicts", "discard", 1, "--data", node.settings.data_folder, "--yes", "--json")
    assert json.loads(result.stdout) == {"number": 1, "files_left": 0}
    assert archive_of(node).reader.conflicts(uid) == []


def test_what_a_peer_wrote_does_not_steer_the_terminal(tmp_path: Path, uid: str) -> None:
    with running_node(tmp_path) as node:
        for number, name in enumerate(("Doe^Jane", "\x1b[31mRed^[bold]B")):
            assert store(node.address, version(number, uid, name)).status == 0
    result = run("conflicts", "show", 1, "--data", tmp_path, "--values")
    assert "\x1b" not in result.stdout
    assert "[bold]B" in result.stdout
