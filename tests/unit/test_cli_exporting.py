import json
from pathlib import Path
from typing import Any

import pytest
from support.command_line import run

from pacslite.archive import exporting
from pacslite.testing import RunningNode, write_instance


def _filled(tmp_path: Path) -> Path:
    for number in (1, 2):
        write_instance(tmp_path / "source" / str(number), PatientID="P", InstanceNumber=number, Modality="CT")
    assert run("import", tmp_path / "source", "--data", tmp_path / "data").exit_code == 0
    return tmp_path / "data"


def test_a_selection_goes_out(tmp_path: Path) -> None:
    data = _filled(tmp_path)
    options = ("--data", data, "--out", tmp_path / "out", "--template", "{PatientID}/{InstanceNumber:03}")
    result = run("export", *options, "-k", "PatientID=P", "-k", "Modality=CT")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("2 of 2 files; ")
    assert sorted(path.name for path in (tmp_path / "out" / "P").iterdir()) == ["001.dcm", "002.dcm"]
    result = run("export", *options)
    assert result.exit_code == 1
    assert "not exported P/001.dcm: it is there already" in result.stdout
    assert run("export", *options, "--overwrite").exit_code == 0


def test_json_and_a_running_node(pacs: RunningNode, tmp_path: Path) -> None:
    path = write_instance(tmp_path / "1")
    run("send", f"{pacs.ae_title}@{pacs.host}:{pacs.port}", path)
    pacs.wait_for(1)
    result = run("export", "--data", pacs.data_folder, "--out", tmp_path / "out", "--json")
    told = json.loads(result.stdout)
    assert told.pop("bytes") > 0
    assert told == {"selected": 1, "exported": 1, "failed_count": 0, "failed": []}


def test_nothing_selected_ends_with_code_1(tmp_path: Path) -> None:
    result = run("export", "--data", _filled(tmp_path), "--out", tmp_path / "out", "-k", "PatientID=Q")
    assert result.exit_code == 1
    assert "0 of 0 files" in result.stdout
    assert not (tmp_path / "out").exists()


def test_failures_beyond_a_number_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _filled(tmp_path)
    options = ("--data", data, "--out", tmp_path / "out")
    run("export", *options)
    monkeypatch.setattr(exporting, "MAX_TOLD", 1)
    assert "and 1 more not exported" in run("export", *options).stdout


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [("-k", "PatintID=1", "PatientID"), ("--template", "{StudyDat}", "StudyDate")],
)
def test_a_misspelt_keyword_is_a_usage_error_with_a_hint(
    tmp_path: Path, option: str, value: str, hint: str
) -> None:
    result = run("export", "--data", tmp_path, "--out", tmp_path / "out", option, value)
    assert result.exit_code == 2
    assert f"did you mean {hint}?" in result.stderr


def test_a_folder_without_an_archive(tmp_path: Path) -> None:
    result = run("export", "--data", tmp_path / "none", "--out", tmp_path / "out")
    assert result.exit_code == 4


def test_an_interruption_has_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "export", interrupt)
    assert run("export", "--data", _filled(tmp_path), "--out", tmp_path / "out").exit_code == 130
