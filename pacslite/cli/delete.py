"""`pacslite delete`: studies, series and instances out of an archive."""

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal

from pacslite.cli.keeping import ArchiveOption, carry_out, chosen_archive, tell
from pacslite.cli.options import ConfigOption, DataOption, JsonOption, quiet_settings_from

if TYPE_CHECKING:
    from pacslite.index.deletion import Extent


class What(StrEnum):
    """What is to be deleted."""

    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


def delete(
    what: Annotated[What, typer.Argument(metavar="WHAT", help="study, series or instance.")],
    uid: Annotated[str, typer.Argument(metavar="UID", help="Its Study, Series or SOP Instance UID.")],
    *,
    is_forgetting: Annotated[
        bool,
        typer.Option(
            "--forget", help="Also remove metadata, receipts and discrepancies, as if it never came."
        ),
    ] = False,
    is_sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    archive: ArchiveOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete the files of a study, series or instance for good, with all versions kept aside.

    Versions that are kept aside and say that they belong to the study or series go too, whatever the
    archive's own versions say. The metadata stay findable, with Instance Availability UNAVAILABLE, unless
    --forget. What arrives meanwhile stays; what is sent again comes back. A series UID that several studies
    have means all of these series. With --json: {"instances", "conflicts", "files_left"}.
    """
    from pacslite.archive.archive import Archive  # noqa: PLC0415 - imports SQLAlchemy
    from pacslite.archive.deletion import extent_of  # noqa: PLC0415 - see above

    settings = quiet_settings_from(config, data)
    chosen = chosen_archive(settings, archive)
    with Archive(settings, chosen).reading() as opened:
        extent = extent_of(opened, what.value, uid)
    if not is_sure:
        told = f"{what.value} {uid} of archive {chosen.name}: {_in_words(extent)}"
        rest = "Nothing of it will be known any longer" if is_forgetting else "Its metadata stay"
        typer.confirm(f"{told}. {rest}. Delete it?", abort=True, err=True)
    arguments = {"level": what.value, "uid": uid, "forget": is_forgetting}
    result = carry_out(settings, archive, "delete", arguments)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print(result)
    if result["files_left"]:
        tell(f"{_count(result['files_left'], 'file')} could not be removed yet; the node will try again")


def _in_words(extent: "Extent") -> str:
    words = [_count(extent.instances, "instance")]
    if extent.unavailable:
        words[0] += f" ({extent.unavailable} deleted before)"
    return ", ".join([*words, _count(extent.conflicts, "conflict"), decimal(extent.file_bytes)])


def _print(result: dict[str, Any]) -> None:
    typer.echo(
        f"deleted {_count(result['instances'], 'instance')} and {_count(result['conflicts'], 'conflict')}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
