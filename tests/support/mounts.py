"""Small file systems in memory, where the kernel lets this process mount them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory on the new `folder`; skips the test where that is not allowed."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or umount is None:
        pytest.skip("mounting takes root")
    folder.mkdir()
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"this kernel does not let us mount: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        # lazily, so that a test that failed with files open leaves no mount behind
        subprocess.run([umount, "--lazy", str(folder)], check=True)


def make_read_only(folder: Path) -> None:
    """Let nothing be written any more to what is mounted on `folder`."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
