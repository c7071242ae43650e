"""What several commands take, and the settings that come of it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pacslite.cli.log import configure_logging
from pacslite.settings.load import load_settings
from pacslite.settings.schema import LoggingSettings, Settings
from pacslite.settings.values import check_ae_title

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file; without it the defaults hold.")
]
DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Data folder; wins over the settings.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def _ae_title(text: str) -> str:
    try:
        return check_ae_title(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


PeerArgument = Annotated[
    str, typer.Argument(metavar="PEER", help="AET@host:port, or the name of a peer of the settings.")
]
CallingOption = Annotated[
    str | None,
    typer.Option("--calling", metavar="AET", parser=_ae_title, help="Our AE title; wins over the settings."),
]


def settings_from(
    config: Path | None, data: Path | None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Return the settings of the file `config`, the environment, and the options of a command.

    Raises
    ------
    ConfigurationError
        When anything in them is wrong.
    """
    changes = dict(overrides or {})
    if data is not None:
        changes["data_folder"] = data
    return load_settings(config, os.environ, changes)


def quiet_settings_from(config: Path | None, data: Path | None) -> Settings:
    """Return the settings of a command that ends soon, and log its warnings only (at level debug: all).

    Raises
    ------
    ConfigurationError
        When anything in them is wrong.
    """
    settings = settings_from(config, data)
    chosen = settings.logging
    level = "warning" if chosen.level == "info" else chosen.level
    configure_logging(LoggingSettings(level=level, format=chosen.format))
    return settings
