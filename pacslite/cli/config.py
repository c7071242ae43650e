"""`pacslite config`: what the settings come to."""

import json
import re
from typing import Any, Final

import typer
import yaml

from pacslite.cli.exits import ExitCode
from pacslite.cli.options import ConfigOption, DataOption, JsonOption, settings_from
from pacslite.settings.load import SettingsError
from pacslite.settings.schema import Settings

app = typer.Typer(help="Show or check the settings.", no_args_is_help=True, rich_markup_mode=None)

_PASSWORD: Final = re.compile(r"(?<=://)([^:/@]*):.*(?=@)|(?<=password=)[^&]*")


@app.command("show")
def show(*, config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Print the settings in force as YAML: the file, the environment and the defaults together.

    Passwords in database URLs are masked.
    """
    values = effective_values(settings_from(config, data))
    if as_json:
        typer.echo(json.dumps(values))
    else:
        typer.echo(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), nl=False)


@app.command("check")
def check(*, config: ConfigOption = None, data: DataOption = None) -> None:
    """Say whether the settings are right; if not, each thing to mend with its file, line and key."""
    try:
        settings_from(config, data)
    except SettingsError as error:
        for problem in error.problems:
            typer.echo(f"pacslite: {problem}", err=True)
        raise typer.Exit(ExitCode.CONFIGURATION) from error
    typer.echo("ok")


def effective_values(settings: Settings) -> dict[str, Any]:
    """Return `settings` as plain values, with the passwords in database URLs masked."""
    values = settings.model_dump(mode="json")
    for archive in values["archives"]:
        if archive["index_url"] is not None:
            archive["index_url"] = _PASSWORD.sub(_mask, archive["index_url"])
    return values


def _mask(match: re.Match[str]) -> str:
    return "***" if match[1] is None else f"{match[1]}:***"
