"""`pacslite stats`: how much the archives hold."""

import json
import shutil
from dataclasses import asdict
from typing import Any

import typer
from rich.console import Console
from rich.filesize import decimal

from pacslite.cli.columns import columns
from pacslite.cli.options import ConfigOption, DataOption, JsonOption, quiet_settings_from
from pacslite.model.errors import DataFolderError
from pacslite.settings.schema import ArchiveSettings, Settings


def stats(*, config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show what each archive holds, the free space, and the running node's process.

    The index tells the numbers of patients, studies, series, instances, conflicts (versions kept aside),
    discrepancies, and instances that are unavailable because they were deleted; the size is that of the files
    that it names, conflicts included.
    """
    from pacslite.storage.lock import find_owner  # noqa: PLC0415 - --help need not wait for it

    settings = quiet_settings_from(config, data)
    archives = [_archive(settings, archive) for archive in settings.archives]
    result = {
        "data_folder": str(settings.data_folder.absolute()),
        "pid": find_owner(settings.data_folder),
        "free_bytes": shutil.disk_usage(settings.data_folder).free,
        "archives": archives,
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print(result)


def _archive(settings: Settings, archive: ArchiveSettings) -> dict[str, Any]:
    # SQLAlchemy takes half of the start-up, which --help and other commands need not wait for.
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - see above

    from pacslite.archive.archive import index_url  # noqa: PLC0415 - see above
    from pacslite.index import migrate  # noqa: PLC0415 - see above
    from pacslite.index.engine import open_reader_engine  # noqa: PLC0415 - see above
    from pacslite.index.reader import IndexReader  # noqa: PLC0415 - see above

    url = index_url(settings, archive)
    migrate.check(url)
    engine = open_reader_engine(url, busy_seconds=settings.index.busy_seconds, reader_count=1)
    try:
        counts = IndexReader(engine).counts()
    except DBAPIError as error:
        raise DataFolderError(f"the index of archive {archive.name}: {error.orig}") from error
    finally:
        engine.dispose()
    return {"name": archive.name, **asdict(counts)}


def _print(result: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    node = f"process {result['pid']}" if result["pid"] else "not running"
    console.print(f"data folder  {result['data_folder']}", markup=False)
    console.print(f"node         {node}")
    console.print(f"free         {decimal(result['free_bytes'])}")
    keys = [key for key in result["archives"][0] if key != "file_bytes"]
    rows = [["archive" if key == "name" else key for key in [*keys, "size"]]]
    rows += [
        [*(str(archive[key]) for key in keys), decimal(archive["file_bytes"])]
        for archive in result["archives"]
    ]
    typer.echo()
    for line in columns(rows, right=range(1, len(keys) + 1)):
        typer.echo(line)
