import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from support.care import filled, viewed

from pacslite.archive.exporting import ExportTree, export
from pacslite.archive.naming import DEFAULT_TEMPLATE, MAX_NAME_BYTES, Namer, safe_name
from pacslite.archive.operation import ignore_progress
from pacslite.index import selection
from pacslite.index.selection import parse_selection
from pacslite.model.errors import OperationError
from pacslite.settings.schema import Settings
from pacslite.testing import make_study, write_instance

STUDY = "1.2.826.0.1.3680043.8.498.9"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An archive of two studies of one patient on one day, and one of another."""
    for name, patient, series in (("1", "A/1", 2), ("2", "A/1", 1), ("3", "B", 1)):
        study = make_study(
            seed=int(name),
            modalities=("CT", "MR")[:series],
            instances_per_series=3,
            side=16,
            PatientID=patient,
            StudyInstanceUID=f"{STUDY}.{name}",
            StudyDate="20240229",
            StudyDescription="Kopf nativ: Übersicht",
            SeriesDescription="axial ../../etc",
            AccessionNumber=f"ACC {name}",
        )
        for number, instance in enumerate(study):
            write_instance(tmp_path / "source" / name / str(number), instance)
    return filled(tmp_path / "data", tmp_path / "source")


def run(
    settings: Settings,
    out: Path,
    *conditions: str,
    template: str = DEFAULT_TEMPLATE,
    overwrites: bool = False,
) -> dict[str, Any]:
    with viewed(settings) as view:
        return export(
            view,
            parse_selection(conditions),
            ExportTree(out, overwrites=overwrites),
            Namer(template),
            ignore_progress,
        )


def files(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir())


def test_names_can_be_read_and_tell_studies_apart(settings: Settings, tmp_path: Path) -> None:
    result = run(settings, tmp_path / "out")
    assert (result["selected"], result["exported"], result["failed_count"]) == (12, 12, 0)
    study = "20240229 Kopf nativ_ Übersicht"
    series = "axial .._.._etc"
    assert files(tmp_path / "out") == sorted(
        [f"A_1/{study}/{number} {series}/{each}.dcm" for number in (1, 2) for each in (1, 2, 3)]
        + [f"A_1/{study} (2)/1 {series}/{each}.dcm" for each in (1, 2, 3)]
        + [f"B/{study}/1 {series}/{each}.dcm" for each in (1, 2, 3)]
    )
    assert result["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").rglob("*.dcm"))


def test_files_are_the_stored_ones_with_an_empty_preamble(settings: Settings, tmp_path: Path) -> None:
    run(settings, tmp_path / "out", template="{SOPInstanceUID}")
    with viewed(settings) as view:
        for path in (tmp_path / "out").iterdir():
            found = view.reader.instance(path.stem)
            assert found is not None
            assert path.read_bytes() == view.path(found.file.path).read_bytes()
            assert path.read_bytes()[:132] == bytes(128) + b"DICM"
            assert str(dcmread(path).SOPInstanceUID) == path.stem
            assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        (["PatientID=A/1"], 9),
        ([f"StudyInstanceUID={STUDY}.1"], 6),
        ([f"StudyInstanceUID={STUDY}.1", "Modality=MR"], 3),
        ([f"StudyInstanceUID={STUDY}.1", f"StudyInstanceUID={STUDY}.3"], 9),
        (["AccessionNumber=ACC 3 "], 3),
        (["StudyDate=20240229", "PatientID=B"], 3),
        (["StudyDate=20240228"], 0),
        (["PatientID=A*"], 0),
        (["PatientID=a/1"], 0),
    ],
)
def test_values_are_exact(settings: Settings, tmp_path: Path, conditions: list[str], count: int) -> None:
    assert run(settings, tmp_path / "out", *conditions)["exported"] == count


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("PatintID=1", "did you mean PatientID"),
        ("Rows=1", "not selected by 'Rows'"),
        ("PatientID", "needs a value"),
        ("PatientID= ", "needs a value"),
        ("StudyInstanceUID=1.2.*", "is a UID"),
        ("StudyDate=20240101-20240131", "YYYYMMDD"),
        ("StudyDate=2024-02-29", "YYYYMMDD"),
    ],
)
def test_conditions_that_cannot_be_met_are_told(condition: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_selection([condition])


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{PatintID}", "did you mean PatientID"),
        ("{Foo}", "such as StudyDate"),
        ("a//b", "empty name"),
        ("/{PatientID}", "empty name"),
        ("{PatientID}/", "empty name"),
        ("", "empty name"),
        ("{InstanceNumber:>9}", "pads numbers"),
        ("{PatientID!r}", "pads numbers"),
        ("{}", "no keyword"),
        ("{PatientID", "expected"),
    ],
)
def test_templates_that_make_no_path_are_told(template: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Namer(template)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Doe^Jane^^Dr", "Doe Jane Dr"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "unknown"),
        ("", "unknown"),
        ("a\0b\nc", "a_b_c"),
        ("\u202eevil", "_evil"),
        ("山田^太郎", "山田 太郎"),
        ("e\u0301", "é"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("-rf", "rf"),
        ("a  b.", "a b"),
        ("C:\\x", "C__x"),
    ],
)
def test_names_are_safe(text: str, name: str) -> None:
    assert safe_name(text) == name


def test_long_names_are_cut_between_characters() -> None:
    name = safe_name("ü" * 500)
    assert name == "ü" * (MAX_NAME_BYTES // 2)


def test_numbers_are_padded_and_what_is_missing_is_unknown(settings: Settings, tmp_path: Path) -> None:
    run(
        settings,
        tmp_path / "out",
        "PatientID=B",
        template="x/{ProtocolName}/{InstanceNumber:04}{Laterality:03}",
    )
    assert files(tmp_path / "out") == [f"x/unknown/000{number}.dcm" for number in (1, 2, 3)]


def test_no_name_is_given_twice_whatever_the_template(settings: Settings, tmp_path: Path) -> None:
    result = run(settings, tmp_path / "out", template="all")
    assert result["exported"] == 12
    assert files(tmp_path / "out") == sorted(["all.dcm", *(f"all ({n}).dcm" for n in range(2, 13))])


def test_many_are_read_page_by_page_and_what_is_deleted_meanwhile_is_left_out(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "_PAGE_ROWS", 5)
    assert run(settings, tmp_path / "out")["exported"] == 12
    with viewed(settings) as view:
        count, instances = selection.select_instances(view.reader, {})
        assert count == 12
        first = next(instances)
        with closing(sqlite3.connect(str(view.url.database))) as index, index:
            index.execute("UPDATE instance SET path = NULL WHERE path <> ?", (first.named.file.path,))
        assert len(list(instances)) == 4


def test_what_is_there_stays_unless_it_may_be_replaced(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "1.dcm").write_text("mine")
    result = run(settings, out, "PatientID=B", template="{InstanceNumber}")
    assert (result["exported"], result["failed_count"]) == (2, 1)
    assert result["failed"][0]["path"] == "1.dcm"
    assert result["failed"][0]["reason"] == "it is there already"
    assert (out / "1.dcm").read_text() == "mine"
    result = run(settings, out, "PatientID=B", template="{InstanceNumber}", overwrites=True)
    assert result["exported"] == 3
    assert (out / "1.dcm").read_bytes()[128:132] == b"DICM"
    assert files(out) == ["1.dcm", "2.dcm", "3.dcm"]


def test_links_in_the_tree_lead_nowhere(settings: Settings, tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    out.mkdir()
    (out / "B").symlink_to(outside)
    (out / "A_1").mkdir()
    (out / "A_1" / "1.dcm").symlink_to(outside / "victim")
    for overwrites in (False, True):
        result = run(settings, out, template="{PatientID}/{InstanceNumber}", overwrites=overwrites)
        assert result["failed_count"] >= 3
    assert list(outside.iterdir()) == []


def test_debris_of_an_export_that_was_cut_off_goes(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".1.dcm.part").write_text("debris")
    assert run(settings, out, "PatientID=B", template="{InstanceNumber}")["exported"] == 3
    assert files(out) == ["1.dcm", "2.dcm", "3.dcm"]


def test_a_damaged_file_is_not_exported_but_told(settings: Settings, tmp_path: Path) -> None:
    with viewed(settings) as view:
        paths = sorted(view.reader.named_paths(""))
        damaged, gone = view.path(paths[0]), view.path(paths[1])
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    gone.unlink()
    result = run(settings, tmp_path / "out", template="{SOPInstanceUID}")
    assert (result["exported"], result["failed_count"]) == (10, 2)
    assert {failure["reason"] for failure in result["failed"]} == {
        "its data set is not what was received",
        "No such file or directory",
    }
    assert len(files(tmp_path / "out")) == 10


@pytest.mark.parametrize("has_other", [False, True])
def test_file_systems_without_links(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_other: bool
) -> None:
    def refuse(_: str, target: str, *, src_dir_fd: int, **__: object) -> None:
        if has_other:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, dir_fd=src_dir_fd))
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    result = run(settings, tmp_path / "out", "PatientID=B")
    assert result["exported"] == (0 if has_other else 3)


def test_a_link_that_fails_otherwise_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", refuse)
    result = run(settings, tmp_path / "out", "PatientID=B")
    assert {failure["reason"] for failure in result["failed"]} == {"Input/output error"}


def test_a_full_disk_ends_the_export(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    with pytest.raises(OperationError, match="No space left"):
        run(settings, tmp_path / "out")
    assert files(tmp_path / "out") == []


def test_the_folder_cannot_be_a_file(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    result = run(settings, tmp_path / "out", "PatientID=B")
    assert result["exported"] == 0
    assert result["failed_count"] == 3
