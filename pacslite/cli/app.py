"""The program `pacslite`: its commands, and how their errors are told."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pacslite import __version__
from pacslite.cli import (
    backup,
    config,
    conflicts,
    db,
    delete,
    echo,
    exporting,
    fsck,
    importing,
    jobs,
    reindex,
    send,
    serve,
    stats,
)
from pacslite.cli.exits import exit_code_of
from pacslite.model.errors import PacsliteError


class _Program(TyperGroup):
    """Tells an expected error in one line, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command of `ctx`."""
        try:
            return super().invoke(ctx)
        except PacsliteError as error:
            typer.echo(f"pacslite: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(exit_code_of(error)) from error


app = typer.Typer(
    name="pacslite",
    cls=_Program,
    help="A small, fast, durable DICOM archive and client.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, and so patient data
)
app.command("serve")(serve.serve)
app.command("echo")(echo.echo)
app.command("send")(send.send)
app.command("stats")(stats.stats)
app.command("import")(importing.import_)
app.command("export")(exporting.export)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("fsck")(fsck.fsck)
app.command("reindex")(reindex.reindex)
app.add_typer(conflicts.app, name="conflicts")
app.command("delete")(delete.delete)
app.add_typer(jobs.app, name="jobs")
app.add_typer(db.app, name="db")
app.add_typer(config.app, name="config")


def _show_version(is_wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if is_wanted:
        typer.echo(f"pacslite {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line of this process and exit (docs/cli.md lists the exit codes)."""
    app(prog_name="pacslite")
