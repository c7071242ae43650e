"""Writes the pages of docs/ that say what the code says: `python -m pacslite.cli.docs [--check]`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pacslite.cli.docs_cli import cli_page
from pacslite.cli.docs_configuration import configuration_page

FOLDER: Final = Path(__file__).parents[2] / "docs"

PAGES: Final[dict[str, Callable[[], str]]] = {
    "configuration.md": configuration_page,
    "cli.md": cli_page,
}


def stale_pages(folder: Path) -> list[str]:
    """Return the names of the pages in `folder` that are absent or say something else than the code."""
    return [
        name
        for name, make in PAGES.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != make()
    ]


def write_pages(folder: Path) -> None:
    """Write every page into `folder`."""
    for name, make in PAGES.items():
        (folder / name).write_text(make(), encoding="utf-8")


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    """Write the pages, or with `--check` name those that are stale; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pacslite.cli.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is stale")
    if not parser.parse_args(arguments).check:
        write_pages(folder)
        return 0
    stale = stale_pages(folder)
    for name in stale:
        sys.stderr.write(f"docs/{name} is stale: run `make docs`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
