"""`pacslite reindex`: the index made anew from the files."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from pacslite.cli.exits import ExitCode
from pacslite.cli.keeping import ArchiveOption, chosen_archive, progress_shown, tell
from pacslite.cli.options import ConfigOption, DataOption, JsonOption, quiet_settings_from
from pacslite.model.errors import DataFolderError

if TYPE_CHECKING:
    from pacslite.archive.reindex.report import ReindexReport


def reindex(
    *,
    archive: ArchiveOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the index of an archive anew from its files; the node must be stopped.

    Nothing changes until the new index is complete: then it takes the place of the former one, which is
    kept beside it as index.sqlite.before-TIME. An interrupted run changes nothing; start it again. What
    files do not tell (jobs, deletions, what keepers decided of conflicts, receipts without a file) comes
    from the former index if that can be read. Files that are damaged or no instances are named and left
    alone, and the exit code is 0 all the same. An index in PostgreSQL must be an empty database. With
    --json: {"archive", "files", "instances", "conflicts", "jobs", "unavailable", "former", "kept_as",
    "left": {path: reason}, "seconds"}.
    """
    # SQLAlchemy takes half of the start-up, which --help and other commands need not wait for.
    from pacslite.archive.reindex.run import reindex as rebuild  # noqa: PLC0415 - see above
    from pacslite.storage.lock import DataFolderLock, find_owner  # noqa: PLC0415 - see above

    settings = quiet_settings_from(config, data)
    chosen = chosen_archive(settings, archive)
    if not settings.data_folder.is_dir():
        raise DataFolderError(f"{settings.data_folder} is not there")
    owner = find_owner(settings.data_folder)
    if owner is not None:
        raise DataFolderError(
            f"{settings.data_folder} is in use by process {owner}: stop that first, since it writes to the "
            "index that is to be replaced"
        )
    with DataFolderLock(settings.data_folder):
        try:
            with progress_shown() as progress:
                report = rebuild(settings, chosen, progress)
        except KeyboardInterrupt:
            tell("interrupted; the index is as it was")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps({"archive": chosen.name, **asdict(report)}))
    else:
        _print(chosen.name, report)


def _print(name: str, report: "ReindexReport") -> None:
    for path, reason in report.left.items():
        tell(f"left alone: {path!r}: {reason}")
    rate = report.files / report.seconds if report.seconds else 0
    typer.echo(
        f"{name}: {report.instances} instances and {report.conflicts} conflicts from {report.files} files in "
        f"{report.seconds:.1f} s ({rate:.0f} files/s)"
    )
    if report.former == "used":
        typer.echo(
            f"from the former index: {report.jobs} jobs, {report.unavailable} instances without a file, and "
            "all else that files do not tell"
        )
    elif report.former != "none":
        typer.echo(f"the former index could not be read ({report.former}): what files do not tell is gone")
    if report.kept_as is not None:
        typer.echo(f"the former index is kept as {report.kept_as}")
    if report.left:
        typer.echo(f"{len(report.left)} files were left alone; `pacslite fsck` names them again")
