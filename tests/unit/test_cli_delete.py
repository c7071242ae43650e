import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import logging_restored, run
from support.instances import Instance, make_instance, unique_uid
from support.kept import archive_of, check_kept, check_nothing_else
from support.nodes import RunningNode, running_node
from support.raw_sender import store
from typer.testing import CliRunner

from pacslite.archive import removal
from pacslite.cli.app import app


@pytest.fixture
def instances() -> list[Instance]:
    """Return three instances of one study, and one of another."""
    study = unique_uid()
    return [*(make_instance(StudyInstanceUID=study) for _ in range(3)), make_instance()]


@pytest.fixture
def node(tmp_path: Path, instances: list[Instance]) -> Iterator[RunningNode]:
    with running_node(tmp_path) as running:
        for each in instances:
            assert store(running.address, each).status == 0
        newcomer = make_instance(SOPInstanceUID=instances[0].sop_instance_uid, PatientName="Roe")
        assert store(running.address, newcomer).status == 0
        yield running


def ask(answer: str, *arguments: Any) -> Any:
    with logging_restored():
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=answer)


def test_the_question_says_how_much_it_is(node: RunningNode, instances: list[Instance]) -> None:
    study, data = instances[0].study_instance_uid, node.settings.data_folder
    refused = ask("n\n", "delete", "study", study, "--data", data)
    assert refused.exit_code == 1
    assert f"study {study} of archive main: 3 instances, 1 conflict, " in refused.stderr
    assert "Its metadata stay. Delete it?" in refused.stderr
    assert archive_of(node).reader.counts().unavailable == 0
    forgetting = ask("n\n", "delete", "study", study, "--data", data, "--forget")
    assert "Nothing of it will be known any longer." in forgetting.stderr
    nobody = ask("", "delete", "study", study, "--data", data)
    assert nobody.exit_code == 1
    done = ask("y\n", "delete", "study", study, "--data", data)
    assert done.exit_code == 0
    assert done.stdout.endswith("deleted 3 instances and 1 conflict\n")
    assert "node process" in done.stderr
    check_kept(node, instances[3])
    assert len(node.stored_files()) == 1
    check_nothing_else(node)
    again = ask("n\n", "delete", "study", study, "--data", data)
    assert "3 instances (3 deleted before), 0 conflicts, 0 bytes" in again.stderr


@pytest.mark.parametrize("what", ["series", "instance"])
def test_a_series_and_an_instance(node: RunningNode, instances: list[Instance], what: str) -> None:
    uid = instances[1].series_instance_uid if what == "series" else instances[1].sop_instance_uid
    result = run("delete", what, uid, "--yes", "--data", node.settings.data_folder, "--json")
    assert json.loads(result.stdout) == {"instances": 1, "conflicts": 0, "files_left": 0}
    found = archive_of(node).reader.instance(instances[1].sop_instance_uid)
    assert found is not None
    assert found.availability == "UNAVAILABLE"
    assert archive_of(node).reader.counts().unavailable == 1


def test_forget_without_a_node(tmp_path: Path, instances: list[Instance]) -> None:
    with running_node(tmp_path) as node:
        for each in instances:
            assert store(node.address, each).status == 0
    study = instances[0].study_instance_uid
    result = run("delete", "study", study, "--forget", "--yes", "--data", tmp_path)
    assert (result.exit_code, result.stdout) == (0, "deleted 3 instances and 0 conflicts\n")
    assert "no node runs" in result.stderr
    with running_node(tmp_path) as node:
        assert archive_of(node).reader.study(study) is None
        check_kept(node, instances[3])
        check_nothing_else(node)


def test_what_is_not_there(node: RunningNode) -> None:
    result = run("delete", "study", "1.2.3", "--yes", "--data", node.settings.data_folder)
    assert (result.exit_code, result.stderr) == (1, "pacslite: there is no study 1.2.3\n")
    assert run("delete", "patient", "1.2.3", "--yes").exit_code == 2


def test_files_that_resist_are_told(
    node: RunningNode, instances: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    def resist(_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(removal, "remove_durably", resist)
    uid = instances[3].sop_instance_uid
    result = run("delete", "instance", uid, "--yes", "--data", node.settings.data_folder)
    assert result.exit_code == 0
    assert "1 file could not be removed yet" in result.stderr
