"""Which file systems keep what they were told to sync, and what is said of the others."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pacslite.model.errors import DataFolderError
from pacslite.storage import filesystem
from pacslite.storage.filesystem import check_filesystem, filesystem_of


def mount_table(folder: Path, *mounts: tuple[bytes, bytes]) -> Path:
    """Write a table as Linux does: blanks and backslashes escaped, all other bytes as they are."""
    table = folder / "mountinfo"
    lines = [
        b"36 35 98:0 / %b rw,noatime shared:1 - %b /dev/x rw\n"
        % (mount.replace(b"\\", b"\\134").replace(b" ", b"\\040"), kind)
        for mount, kind in mounts
    ]
    table.write_bytes(b"".join(lines))
    return table


def test_the_innermost_mount_holds_the_folder(tmp_path: Path) -> None:
    table = mount_table(tmp_path, (b"/", b"ext4"), (b"/srv", b"xfs"), (b"/srv/remote", b"nfs4"))
    assert filesystem_of(Path("/srv/remote/data"), table) == "nfs4"
    assert filesystem_of(Path("/srv/remote"), table) == "nfs4"
    assert filesystem_of(Path("/srv/remotely"), table) == "xfs"
    assert filesystem_of(Path("/var"), table) == "ext4"


def test_of_mounts_over_each_other_the_last_one_counts(tmp_path: Path) -> None:
    table = mount_table(tmp_path, (b"/", b"ext4"), (b"/srv", b"xfs"), (b"/srv", b"nfs"))
    assert filesystem_of(Path("/srv/data"), table) == "nfs"


@pytest.mark.parametrize("name", ["two words", "données", "画像", "back\\slash", "raw \udcff byte"])
def test_a_mount_of_any_name_is_found(tmp_path: Path, name: str) -> None:
    mount = Path("/srv") / name
    table = mount_table(tmp_path, (b"/", b"ext4"), (bytes(mount), b"nfs"))
    assert filesystem_of(mount / "data", table) == "nfs"


def test_a_system_without_a_mount_table_says_nothing(tmp_path: Path) -> None:
    assert filesystem_of(tmp_path, tmp_path / "none") is None


def test_network_file_systems_are_refused_unless_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "filesystem_of", lambda _: "cifs")
    with pytest.raises(DataFolderError, match=r"is on cifs, .*storage\.allow_unsafe_filesystem"):
        check_filesystem(Path("/srv"), is_unsafe_allowed=False)
    with capture_logs() as events:
        check_filesystem(Path("/srv"), is_unsafe_allowed=True)
    assert [event["event"] for event in events] == ["data_folder.durability_unknown"]


@pytest.mark.parametrize(("kind", "warnings"), [("ext4", 0), ("xfs", 0), (None, 0), ("btrfs", 1)])
def test_local_file_systems_without_a_promise_are_warned_about(
    monkeypatch: pytest.MonkeyPatch, kind: str | None, warnings: int
) -> None:
    monkeypatch.setattr(filesystem, "filesystem_of", lambda _: kind)
    with capture_logs() as events:
        check_filesystem(Path("/srv"), is_unsafe_allowed=False)
    assert len(events) == warnings
