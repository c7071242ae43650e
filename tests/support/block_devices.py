"""Small file systems in files, mounted for a test and always unmounted: only what was made here is undone."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from support.block_recorder import DISK_NAME

TESTS: Final = Path(__file__).parents[1]
START_SECONDS: Final = 15.0
UNMOUNT_SECONDS: Final = 10.0

# The images are smaller than mkfs.xfs takes for granted. Nothing is discarded: a discard is no write.
_MKFS: Final = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "--unsupported", "-q", "-f", "-K"),
}


class DeviceError(AssertionError):
    """A file system could not be made, mounted or unmounted."""


def why_unavailable(kind: str) -> str | None:
    """Return what this machine lacks for `recorded_disk` and for file systems of `kind`, or None."""
    if os.geteuid() != 0:
        return "mounting takes root"
    missing = [path for path in ("/dev/fuse", "/dev/loop-control") if not Path(path).exists()]
    missing += [tool for tool in ("mount", "umount", "fusermount3", _MKFS[kind][0]) if not shutil.which(tool)]
    if importlib.util.find_spec("mfusepy") is None:
        missing.append("mfusepy")
    return f"missing: {', '.join(missing)}" if missing else None


def make_file_system(kind: str, image: Path, size_bytes: int) -> None:
    """Make an empty file system in the new file `image`."""
    with image.open("xb") as file:
        file.truncate(size_bytes)
    _run([*_MKFS[kind], str(image)])


@contextmanager
def loop_mounted(kind: str, image: Path, folder: Path) -> Iterator[Path]:
    """Mount the file system in `image` on `folder`, through a loop device that goes with the mount."""
    folder.mkdir(exist_ok=True)
    _run(["mount", "-t", kind, "-o", "loop", str(image), str(folder)])
    try:
        yield folder
    finally:
        _unmount(folder)


@contextmanager
def recorded_disk(image: Path, folder: Path, log: Path) -> Iterator[Path]:
    """Yield a file that starts as `image` and whose writes and flushes are in `log` once the context ends."""
    folder.mkdir()
    recorder = subprocess.Popen(
        [sys.executable, "-m", "support.block_recorder", str(image), str(folder), str(log)],
        cwd=TESTS,
        start_new_session=True,  # Ctrl+C ends the test; the disk goes after what is mounted from it
    )
    try:
        _wait_until_served(recorder, folder)
        yield folder / DISK_NAME
    finally:
        if folder.is_mount():
            _unmount(folder)
        else:
            recorder.kill()
        code = recorder.wait(UNMOUNT_SECONDS)
    if code:
        raise DeviceError(f"the recorder ended with {code}")


def _wait_until_served(recorder: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not (folder / DISK_NAME).exists():
        if recorder.poll() is not None or time.monotonic() > deadline:
            raise DeviceError("FUSE does not serve the disk")
        time.sleep(0.01)


def _unmount(folder: Path) -> None:
    """Unmount at once, or as soon as whoever still has a file open there lets go."""
    deadline = time.monotonic() + UNMOUNT_SECONDS
    while subprocess.run(["umount", str(folder)], capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            _run(["umount", "--lazy", str(folder)])
            raise DeviceError(f"{folder} was still in use")
        time.sleep(0.02)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeviceError(f"{' '.join(command)}: {done.stderr.strip()}")
