"""`pacslite import`: files and folders into an archive."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.filesize import decimal

from pacslite.cli.exits import ExitCode
from pacslite.cli.keeping import ArchiveOption, carry_out
from pacslite.cli.options import ConfigOption, DataOption, JsonOption, quiet_settings_from
from pacslite.cli.text import printable

_NOT_TAKEN: Final = ("failed", "skipped")


def import_(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Files, and folders with all that is in them.")
    ],
    *,
    archive: ArchiveOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take the DICOM files at each PATH into an archive, as if a peer had sent them.

    Files with and without preamble and file meta are taken; the archive writes its own, and its duplicate
    policy decides about instances that are here already. What is in a folder and is no DICOM instance is
    skipped, so are links and DICOMDIRs. With a node running, the node reads the files, which it must be
    allowed to. With --json: {"counts", "bytes", "files": [{"path", "verdict", "reason"}], "untold",
    "stopped"}, where `files` are those that were not simply stored.
    """
    settings = quiet_settings_from(config, data)
    arguments = {"paths": [str(path.absolute()) for path in paths]}
    result = carry_out(settings, archive, "import", arguments)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print(result)
    counts = result["counts"]
    has_taken = any(count for verdict, count in counts.items() if verdict not in _NOT_TAKEN)
    if counts.get("failed") or result["stopped"] or not has_taken:
        raise typer.Exit(ExitCode.FAILED)


def _print(result: dict[str, Any]) -> None:
    for file in result["files"]:
        reason = f": {file['reason']}" if file["reason"] else ""
        typer.echo(printable(f"{file['verdict']:<10}{file['path']}{reason}"))
    if result["untold"]:
        typer.echo(f"and {result['untold']} more")
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(result["counts"].items()))
    typer.echo(f"{told or 'nothing to import'}; {decimal(result['bytes'])}")
    if result["stopped"]:
        typer.echo(f"pacslite: not all were tried: {printable(result['stopped'])}", err=True)
