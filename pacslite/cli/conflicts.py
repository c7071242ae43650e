"""`pacslite conflicts`: instances of which two versions came."""

import json
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from rich.filesize import decimal

from pacslite.cli.columns import columns
from pacslite.cli.keeping import ArchiveOption, carry_out, chosen_archive, tell
from pacslite.cli.options import ConfigOption, DataOption, JsonOption, quiet_settings_from
from pacslite.cli.text import printable

app = typer.Typer(
    help="See and settle conflicts: instances that came again with other content.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

NumberArgument = Annotated[int, typer.Argument(metavar="NUMBER", help="The conflict, as `list` numbers it.")]


class Role(StrEnum):
    """Why a version is kept aside."""

    NEWCOMER = "newcomer"
    REPLACED = "replaced"


_LINES: Final = (
    ("whole", "is_whole"),
    ("digest", "digest"),
    ("size", "file_bytes"),
    ("file", "path"),
    ("transfer syntax", "transfer_syntax_uid"),
    ("SOP class", "sop_class_uid"),
    ("study", "study_instance_uid"),
    ("series", "series_instance_uid"),
    ("received", "received_at"),
    ("from AE title", "calling_ae_title"),
    ("to AE title", "called_ae_title"),
    ("from address", "peer_address"),
    ("implementation", "implementation_version_name"),
    ("association", "association_id"),
    ("move originator", "move_originator_ae_title"),
)


@app.command("list")
def list_(
    *,
    study: Annotated[
        str | None, typer.Option("--study", metavar="UID", help="Where either version is of this study.")
    ] = None,
    series: Annotated[
        str | None, typer.Option("--series", metavar="UID", help="Where either version is of this series.")
    ] = None,
    instance: Annotated[
        str | None, typer.Option("--instance", metavar="UID", help="Of this SOP Instance UID.")
    ] = None,
    role: Annotated[
        Role | None,
        typer.Option(
            "--role", metavar="R", help="newcomer: came later and was put aside; replaced: was the archive's."
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show the first N.")] = 100,
    archive: ArchiveOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the versions that are kept aside, oldest first; it only reads."""
    from pacslite.archive.archive import Archive  # noqa: PLC0415 - imports SQLAlchemy
    from pacslite.archive.conflicts import list_conflicts  # noqa: PLC0415 - see above
    from pacslite.index.evidence import ConflictFilter  # noqa: PLC0415 - see above

    settings = quiet_settings_from(config, data)
    wanted = ConflictFilter(study, series, instance, role)
    with Archive(settings, chosen_archive(settings, archive)).reading() as opened:
        found = list_conflicts(opened, wanted, limit=limit)
    if as_json:
        typer.echo(json.dumps(found))
    elif found:
        _print_list(found)
    else:
        typer.echo("no conflicts")


@app.command("show")
def show(
    number: NumberArgument,
    *,
    with_values: Annotated[
        bool, typer.Option("--values", help="With the differing values: patient data.")
    ] = False,
    archive: ArchiveOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show both versions of an instance, how each came, and in which attributes they differ; it only reads.

    Both files are read, and whether they are whole is told.
    """
    from pacslite.archive.archive import Archive  # noqa: PLC0415 - imports SQLAlchemy
    from pacslite.archive.conflicts import show_conflict  # noqa: PLC0415 - see above

    settings = quiet_settings_from(config, data)
    with Archive(settings, chosen_archive(settings, archive)).reading() as opened:
        found = show_conflict(opened, number, with_values=with_values)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _print_versions(found)
        _print_differing(found["differing"], with_values=with_values)


@app.command("accept")
def accept(
    number: NumberArgument,
    *,
    archive: ArchiveOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the version kept aside the archive's.

    The archive's own version is kept aside in its place, as `replaced`: nothing is lost.
    """
    settings = quiet_settings_from(config, data)
    result = carry_out(settings, archive, "conflicts.accept", {"number": number})
    if as_json:
        typer.echo(json.dumps(result))
    else:
        typer.echo(f"accepted {number}: it is the archive's version of {result['sop_instance_uid']} now")


@app.command("discard")
def discard(
    number: NumberArgument,
    *,
    is_sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    archive: ArchiveOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the version kept aside for good; the archive's stays."""
    settings = quiet_settings_from(config, data)
    if not is_sure:
        typer.confirm(
            f"The version that conflict {number} keeps aside was acknowledged to its sender. Remove it?",
            abort=True,
            err=True,
        )
    result = carry_out(settings, archive, "conflicts.discard", {"number": number})
    if as_json:
        typer.echo(json.dumps(result))
    else:
        typer.echo(f"discarded {number}")
    if result["files_left"]:
        tell("its file could not be removed yet; the node will try again")


def _print_list(found: list[dict[str, Any]]) -> None:
    rows = [("number", "role", "put aside", "from", "SOP Instance UID", "differs in")]
    rows += [
        (
            str(each["number"]),
            each["role"],
            each["recorded_at"][:19].replace("T", " "),
            each["aside"]["origin"]["calling_ae_title"],
            each["sop_instance_uid"],
            ", ".join(each["differing_keywords"]) or "what the index does not keep",
        )
        for each in found
    ]
    for line in columns(rows, right={0}):
        typer.echo(line)


def _print_versions(found: dict[str, Any]) -> None:
    typer.echo(f"conflict {found['number']}: {found['role']}, put aside {found['recorded_at']}")
    typer.echo(f"SOP Instance UID {found['sop_instance_uid']}\n")
    current, aside = (_flat(found[name]) for name in ("current", "aside"))
    rows = [("", "the archive's", "kept aside")]
    rows += [(title, current[key], aside[key]) for title, key in _LINES if current[key] or aside[key]]
    for line in columns(rows):
        typer.echo(line)


def _flat(version: dict[str, Any]) -> dict[str, str]:
    merged = {**version, **version["file"], **version["origin"]}
    merged["is_whole"] = "yes" if version["is_whole"] else "NO: missing or damaged"
    merged["file_bytes"] = decimal(version["file"]["file_bytes"])
    return {key: str(merged[key]) for _, key in _LINES}


def _print_differing(differing: list[dict[str, Any]], *, with_values: bool) -> None:
    names = ", ".join(each["name"] for each in differing)
    typer.echo(f"\ndiffering: {names or 'nothing that could be told apart'}")
    if not with_values:
        return
    for each in differing:
        typer.echo(f"\n{each['name']}")
        typer.echo(printable(f"  the archive's  {_or_absent(each['current'])}"))
        typer.echo(printable(f"  kept aside     {_or_absent(each['aside'])}"))


def _or_absent(value: str | None) -> str:
    return "(absent)" if value is None else value
