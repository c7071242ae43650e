"""`pacslite echo`: whether a peer is there."""

import json
from typing import Annotated

import typer

from pacslite.cli.event_loop import new_runner
from pacslite.cli.exits import ExitCode
from pacslite.cli.options import (
    CallingOption,
    ConfigOption,
    JsonOption,
    PeerArgument,
    quiet_settings_from,
)
from pacslite.settings.peers import find_peer


def echo(
    peer: PeerArgument,
    *,
    config: ConfigOption = None,
    calling: CallingOption = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="S", min=0.001, help="Seconds for each step."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify PEER with a C-ECHO, and show how long it took."""
    from pacslite.client import echo as client  # noqa: PLC0415 - pynetdicom, which --help need not wait for

    settings = quiet_settings_from(config, None)
    address = find_peer(settings, peer)
    limits = settings.association
    if timeout is not None:
        steps = ("connect_seconds", "artim_seconds", "dimse_seconds")
        limits = limits.model_copy(update=dict.fromkeys(steps, timeout))
    try:
        with new_runner() as runner:
            result = runner.run(
                client.echo(address, calling_ae_title=calling or settings.ae_title, settings=limits)
            )
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    milliseconds = result.round_trip_seconds * 1000
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "peer": str(address),
                    "status": f"{result.status:04X}",
                    "association_seconds": result.association_seconds,
                    "round_trip_seconds": result.round_trip_seconds,
                }
            )
        )
    else:
        typer.echo(f"{address} answered {result.status:04X} in {milliseconds:.1f} ms")
    if result.status:
        raise typer.Exit(ExitCode.FAILED)
