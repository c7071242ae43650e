"""Files that go for good, and the segments that they leave empty."""

from pathlib import Path

import pytest

from pacslite.storage import removal
from pacslite.storage.folders import sync_folder
from pacslite.storage.removal import remove_durably
from pacslite.storage.segments import SEAL_NAME


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """A segment of three files, in a node's folder."""
    folder = tmp_path / "node1" / "0001"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.dcm").write_bytes(b"x")
    return folder


def test_removing_may_be_repeated(segment: Path) -> None:
    paths = sorted(segment.iterdir())[:2]
    assert remove_durably(paths) == 2
    assert remove_durably(paths) == 0
    assert [path.name for path in segment.iterdir()] == ["2.dcm"]


def test_a_sealed_segment_without_files_goes(segment: Path) -> None:
    paths = sorted(segment.iterdir())
    (segment / SEAL_NAME).touch()
    assert remove_durably(paths[:2]) == 2
    assert segment.exists()
    assert remove_durably(paths) == 1
    assert list(segment.parent.iterdir()) == []
    assert remove_durably(paths) == 0


def test_a_segment_in_use_stays(segment: Path) -> None:
    assert remove_durably(list(segment.iterdir())) == 3
    assert segment.exists()


def test_each_folder_is_synced_after_its_files_are_gone(
    segment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[Path, bool]] = []

    def note(folder: Path) -> None:
        synced.append((folder, folder == segment and any(folder.glob("*.dcm"))))

    monkeypatch.setattr(removal, "sync_folder", note)
    (segment / SEAL_NAME).touch()
    remove_durably(list(segment.glob("*.dcm")))
    assert synced == [(segment, False), (segment.parent, False)]


def test_another_removal_that_was_faster_is_waited_for(
    segment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = list(segment.iterdir())
    for path in paths:
        path.unlink()
    segment.rmdir()
    synced: list[Path] = []

    def note(folder: Path) -> None:
        synced.append(folder)
        sync_folder(folder)

    monkeypatch.setattr(removal, "sync_folder", note)
    assert remove_durably(paths) == 0
    assert synced == [segment, segment.parent]


def test_what_cannot_be_removed_is_raised(segment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(PermissionError):
        remove_durably(list(segment.iterdir()))
