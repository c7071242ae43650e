"""`pacslite db`: the revision of the index."""

import typer

from pacslite.cli.options import ConfigOption, DataOption, quiet_settings_from

app = typer.Typer(help="Upgrade or check the index.", no_args_is_help=True, rich_markup_mode=None)


@app.command("upgrade")
def upgrade(*, config: ConfigOption = None, data: DataOption = None) -> None:
    """Bring the index of every archive to this program's revision, and make it where there is none.

    The data folder must not be in use by a node.
    """
    # SQLAlchemy takes half of the start-up, which --help and other commands need not wait for.
    from pacslite.archive.archive import archive_folder, index_url  # noqa: PLC0415 - see above
    from pacslite.index import migrate  # noqa: PLC0415 - see above
    from pacslite.storage.lock import DataFolderLock  # noqa: PLC0415 - see above

    settings = quiet_settings_from(config, data)
    with DataFolderLock(settings.data_folder):
        for archive in settings.archives:
            archive_folder(settings, archive).mkdir(parents=True, exist_ok=True, mode=0o700)
            url = index_url(settings, archive)
            before = migrate.current(url)
            migrate.upgrade(url)
            after = migrate.head()
            change = "already at" if before == after else f"from {before or 'nothing'} to"
            typer.echo(f"{archive.name}: {change} revision {after}")


@app.command("check")
def check(*, config: ConfigOption = None, data: DataOption = None) -> None:
    """Say whether the index of every archive is of this program's revision."""
    # SQLAlchemy takes half of the start-up, which --help and other commands need not wait for.
    from pacslite.archive.archive import index_url  # noqa: PLC0415 - see above
    from pacslite.index import migrate  # noqa: PLC0415 - see above

    settings = quiet_settings_from(config, data)
    for archive in settings.archives:
        migrate.check(index_url(settings, archive))
        typer.echo(f"{archive.name}: ok, revision {migrate.head()}")
