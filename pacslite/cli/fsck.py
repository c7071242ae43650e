"""`pacslite fsck`: whether files and index agree."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from pacslite.cli.exits import ExitCode
from pacslite.cli.keeping import chosen_archive, progress_shown, tell
from pacslite.cli.options import ConfigOption, DataOption, JsonOption, quiet_settings_from
from pacslite.model.errors import DataFolderError
from pacslite.settings.schema import ArchiveSettings, Settings

if TYPE_CHECKING:
    from pacslite.archive.fsck import FsckReport
    from pacslite.archive.operation import Progress

ArchiveOption = Annotated[
    str | None, typer.Option("--archive", metavar="NAME", help="Archive of the settings; without it all.")
]
QuickOption = Annotated[bool, typer.Option("--quick", help="Compare sizes only, and read no file.")]


def fsck(
    *,
    archive: ArchiveOption = None,
    quick: QuickOption = False,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that every file is what was received, and that index and files agree; change nothing.

    A node may run and receive meanwhile. Findings: missing (a row without its file), damaged (not what was
    received, to the bit), wrong-metadata (the index says otherwise than the file), extra (in the store, and
    no row names it), index (it contradicts itself). What deletions left to their jobs is counted and no
    finding. Exit code 0: nothing is wrong; 1: there are findings; 4: an index cannot be opened. With --json:
    {"archives": [{"name", "files", "file_bytes", "awaiting_removal", "seconds", "findings": [{"kind",
    "what", "path", "sop_instance_uid"}]}]}.
    """
    settings = quiet_settings_from(config, data)
    chosen = settings.archives if archive is None else [chosen_archive(settings, archive)]
    reports: dict[str, FsckReport] = {}
    try:
        with progress_shown() as progress:
            for each in chosen:
                reports[each.name] = _check(settings, each, progress, is_quick=quick)
    except KeyboardInterrupt:
        tell("interrupted; what was not checked yet may be wrong")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if as_json:
        told = [{"name": name, **asdict(report)} for name, report in reports.items()]
        typer.echo(json.dumps({"archives": told}))
    else:
        for name, report in reports.items():
            _print(name, report)
    if any(report.findings for report in reports.values()):
        raise typer.Exit(ExitCode.FAILED)


def _check(
    settings: Settings, archive: ArchiveSettings, progress: "Progress", *, is_quick: bool
) -> "FsckReport":
    # SQLAlchemy takes half of the start-up, which --help and other commands need not wait for.
    from pacslite.archive.archive import Archive, index_url  # noqa: PLC0415 - see above
    from pacslite.archive.fsck import fsck as check  # noqa: PLC0415 - see above
    from pacslite.index import migrate  # noqa: PLC0415 - see above
    from pacslite.storage.lock import find_owner  # noqa: PLC0415 - see above

    opened = Archive(settings, archive)
    if migrate.current(index_url(settings, archive)) is None and opened.store.folder.exists():
        raise DataFolderError(
            f"the index of archive {archive.name} is lost: `pacslite reindex` makes a new one from the files"
        )
    with opened.reading() as readable:
        return check(
            readable,
            is_node_running=lambda: find_owner(settings.data_folder) is not None,
            is_quick=is_quick,
            progress=progress,
        )


def _print(name: str, report: "FsckReport") -> None:
    for finding in report.findings:
        path = "" if finding.path is None else f" {finding.path!r}"
        instance = "" if finding.sop_instance_uid is None else f" (instance {finding.sop_instance_uid})"
        typer.echo(f"{name}: {finding.kind}{path}: {finding.what}{instance}")
    count = len(report.findings)
    waiting = f", {report.awaiting_removal} more wait to be removed" if report.awaiting_removal else ""
    verdict = "nothing is wrong" if not count else f"{count} findings"
    size = decimal(report.file_bytes)
    typer.echo(f"{name}: {report.files} files, {size}, checked in {report.seconds:.1f} s{waiting}: {verdict}")
