"""`pacslite backup` and `pacslite restore`."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.filesize import decimal

from pacslite.cli.exits import ExitCode
from pacslite.cli.keeping import carry_out, chosen_archive, progress_shown
from pacslite.cli.options import ConfigOption, DataOption, JsonOption, quiet_settings_from
from pacslite.cli.text import printable
from pacslite.settings.schema import ArchiveSettings, Settings

FolderArgument = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Folder of the backup; each archive has a folder in it.")
]
SomeArchiveOption = Annotated[
    str | None,
    typer.Option("--archive", metavar="NAME", help="Archive of the settings; without it all of them."),
]

_TROUBLES: Final = ("damaged_count", "missing_count", "unmended_count")


def backup(
    folder: FolderArgument,
    *,
    link: Annotated[
        bool,
        typer.Option(
            "--link",
            help="Hard links where FOLDER is on the archive's file system: no help when the disk fails.",
        ),
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove copies of files that the archive has no longer.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read what is in FOLDER already, and replace what is damaged.")
    ] = False,
    archive: SomeArchiveOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Save archives into FOLDER while a node runs on them, or while none does.

    Everything acknowledged before the command began is saved, every file is verified, and a backup that is
    there already is brought up to date: only new files are copied. With --json: [{"archive", "made_at",
    "files", "bytes", "copied", "copied_bytes", "rounds", "removed", "damaged_count", "damaged"}], where
    `damaged` are files of the archive that could not be saved.
    """
    # SQLAlchemy takes half of the start-up, which --help and other commands need not wait for.
    from pacslite.archive.backup import back_up  # noqa: PLC0415 - see above
    from pacslite.archive.saving import BackupChoices  # noqa: PLC0415 - see above
    from pacslite.archive.view import view_archive  # noqa: PLC0415 - see above

    settings = quiet_settings_from(config, data)
    choices = BackupChoices(links=link, prunes=prune, verifies=verify)
    results = []
    with _interruptible(), progress_shown() as progress:
        for chosen in _chosen(settings, archive):
            with view_archive(settings, chosen) as view:
                results.append(back_up(view, folder, choices, progress))
    _conclude(results, _print_saved, as_json=as_json)


def restore(
    folder: FolderArgument,
    *,
    only_damaged: Annotated[
        bool,
        typer.Option(
            "--only-damaged",
            help="Mend the files of existing archives that are missing or damaged, and change nothing else.",
        ),
    ] = False,
    archive: SomeArchiveOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make archives anew in an empty data folder from the backup in FOLDER.

    Every file is verified; those that are damaged in the backup are named and left out. With --only-damaged
    a node may run. With --json: [{"archive", "made_at", "files", "bytes", "missing_count", "damaged_count",
    "damaged"}], or, with --only-damaged, [{"archive", "checked", "mended_count", "mended", "unmended_count",
    "unmended"}].
    """
    settings = quiet_settings_from(config, data)
    if only_damaged:
        arguments = {"folder": str(folder.absolute())}
        mended = [carry_out(settings, each.name, "mend", arguments) for each in _chosen(settings, archive)]
        _conclude(mended, _print_mended, as_json=as_json)
        return
    chosen = settings.model_copy(update={"archives": _chosen(settings, archive)})
    with _interruptible():
        results = _restore(folder, chosen)
    _conclude(results, _print_restored, as_json=as_json)


def _restore(folder: Path, settings: Settings) -> list[dict[str, Any]]:
    from pacslite.archive.restoring import (  # noqa: PLC0415 - as in `backup`
        check_restorable,
        restore_archive,
    )
    from pacslite.storage.filesystem import check_filesystem  # noqa: PLC0415 - as in `backup`
    from pacslite.storage.lock import DataFolderLock  # noqa: PLC0415 - as in `backup`

    check_restorable(folder, settings)
    with DataFolderLock(settings.data_folder), progress_shown() as progress:
        check_filesystem(settings.data_folder, is_unsafe_allowed=settings.storage.allow_unsafe_filesystem)
        return [restore_archive(folder, settings, archive, progress) for archive in settings.archives]


def _chosen(settings: Settings, name: str | None) -> list[ArchiveSettings]:
    return settings.archives if name is None else [chosen_archive(settings, name)]


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _conclude(
    results: list[dict[str, Any]], show: Callable[[dict[str, Any]], None], *, as_json: bool
) -> None:
    if as_json:
        typer.echo(json.dumps(results))
    else:
        for result in results:
            show(result)
    if any(result.get(key) for result in results for key in _TROUBLES):
        raise typer.Exit(ExitCode.FAILED)


def _print_saved(result: dict[str, Any]) -> None:
    copied = f"{result['copied']} of them new ({decimal(result['copied_bytes'])})"
    removed = f", {result['removed']} removed" if result["removed"] else ""
    typer.echo(
        f"{result['archive']}: {result['files']} files ({decimal(result['bytes'])}), {copied}{removed}, "
        f"as of {result['made_at']}"
    )
    _print_files(result["damaged"], result["damaged_count"], "not saved")


def _print_restored(result: dict[str, Any]) -> None:
    size = decimal(result["bytes"])
    typer.echo(f"{result['archive']}: {result['files']} files ({size}), as of {result['made_at']}")
    if result["missing_count"]:
        typer.echo(
            f"{result['missing_count']} files could not be saved at the time; `pacslite fsck` names them"
        )
    _print_files(result["damaged"], result["damaged_count"], "not restored")


def _print_mended(result: dict[str, Any]) -> None:
    typer.echo(f"{result['archive']}: {result['checked']} files checked, {result['mended_count']} mended")
    for path in result["mended"]:
        typer.echo(printable(f"mended {path}"))
    _print_files(result["unmended"], result["unmended_count"], "not mended")


def _print_files(files: list[dict[str, str]], count: int, outcome: str) -> None:
    for file in files:
        typer.echo(printable(f"{outcome} {file['path']}: {file['reason']}"))
    if count > len(files):
        typer.echo(f"and {count - len(files)} more {outcome}")
