"""`pacslite export`: instances of an archive into folders."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from pacslite.cli.exits import ExitCode
from pacslite.cli.keeping import ArchiveOption, chosen_archive, progress_shown
from pacslite.cli.options import ConfigOption, DataOption, JsonOption, quiet_settings_from
from pacslite.cli.text import printable


def export(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to export to.")],
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "-k",
            "--key",
            metavar="KEYWORD=VALUE",
            help="Instances with exactly this value only; may be repeated. Of one keyword any value, of "
            "several all. PatientID, StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, AccessionNumber, "
            "Modality, StudyDate.",
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            metavar="T",
            help="Folders and file names, from any attribute of the index. Without it "
            "{PatientID}/{StudyDate} {StudyDescription}/{SeriesNumber} {SeriesDescription}/{InstanceNumber}; "
            "{InstanceNumber:04} pads with zeros.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    archive: ArchiveOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy instances out of an archive as DICOM Part 10 files; a node may run meanwhile.

    Names have safe characters only and are unique; every copy is verified. The file meta tells from whom and
    when the archive received an instance. With --json: {"selected", "exported", "bytes", "failed_count",
    "failed": [{"path", "sop_instance_uid", "reason"}]}.
    """
    # SQLAlchemy takes half of the start-up, which --help and other commands need not wait for.
    from pacslite.archive.exporting import ExportTree  # noqa: PLC0415 - see above
    from pacslite.archive.exporting import export as run  # noqa: PLC0415 - see above
    from pacslite.archive.naming import DEFAULT_TEMPLATE, Namer  # noqa: PLC0415 - see above
    from pacslite.archive.view import view_archive  # noqa: PLC0415 - see above
    from pacslite.index.selection import parse_selection  # noqa: PLC0415 - see above

    try:
        selection = parse_selection(keys or [])
        namer = Namer(template or DEFAULT_TEMPLATE)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    settings = quiet_settings_from(config, data)
    try:
        with view_archive(settings, chosen_archive(settings, archive)) as view, progress_shown() as progress:
            result = run(view, selection, ExportTree(out, overwrites=overwrite), namer, progress)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps(result))
    else:
        for failure in result["failed"]:
            typer.echo(printable(f"not exported {failure['path']}: {failure['reason']}"))
        if result["failed_count"] > len(result["failed"]):
            typer.echo(f"and {result['failed_count'] - len(result['failed'])} more not exported")
        typer.echo(f"{result['exported']} of {result['selected']} files; {decimal(result['bytes'])}")
    if result["exported"] < result["selected"] or not result["selected"]:
        raise typer.Exit(ExitCode.FAILED)
