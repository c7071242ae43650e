"""The DCMTK tools of this machine, unmodified; CI installs them and does not skip."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

TOOL_SECONDS: Final = 60

needs_dcmtk: Final = pytest.mark.skipif(
    shutil.which("storescu") is None and os.environ.get("CI") != "true", reason="DCMTK is not installed"
)


def start(*command: object) -> "subprocess.Popen[str]":
    """Start a tool; its whole environment is ours but for settings that change DCMTK."""
    environment = {key: value for key, value in os.environ.items() if key != "TCP_NODELAY"}
    return subprocess.Popen(
        [str(argument) for argument in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
    )


def run(*command: object) -> str:
    """Run a tool to its end, which is a good one, and return what it said."""
    with start(*command) as process:
        said, _ = process.communicate(timeout=TOOL_SECONDS)
    assert process.returncode == 0, f"{command}: {process.returncode}\n{said}"
    return said


def dump(path: Path, *tags: str) -> dict[str, str]:
    """Return what `dcmdump` reads of each of `tags` (`gggg,eeee`) first in a Part 10 file, by tag."""
    arguments = [argument for tag in tags for argument in ("+P", tag)]
    said = run("dcmdump", "-q", "-Un", "+L", *arguments, "-s", path)
    values = {}
    for line in said.splitlines():
        tag, _, rest = line.partition(" ")
        text = rest[3:].rsplit("#", 1)[0].strip()
        values[tag.strip("()")] = text[1:-1] if text.startswith("[") else text
    return values
