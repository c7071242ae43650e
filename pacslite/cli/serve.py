"""`pacslite serve`: a node in the foreground, until it is told to stop."""

import json
import os
import shlex
import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final

import typer

from pacslite import __version__
from pacslite.cli.event_loop import new_runner
from pacslite.cli.log import configure_logging
from pacslite.cli.options import ConfigOption, DataOption, JsonOption, settings_from
from pacslite.cli.running import run_until_stopped
from pacslite.settings.peers import parse_peer
from pacslite.settings.schema import Settings
from pacslite.settings.values import is_loopback

Addresses = list[tuple[str, int]]

_EVERY_INTERFACE: Final = ("0.0.0.0", "::")  # noqa: S104 - read, not bound

_SWITCH_INTERVAL_SECONDS: Final = 0.0005
"""One busy thread may hold up the event loop for so long; Python's own 5 ms cost C-ECHO 96 % of its rate."""


def serve(
    *,
    config: ConfigOption = None,
    aet: Annotated[str | None, typer.Option("--aet", metavar="T", help="The node's AE title.")] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", metavar="N", min=0, max=65535, help="Port of the first listener; 0 takes a free one."
        ),
    ] = None,
    bind: Annotated[
        str | None, typer.Option("--bind", metavar="A", help="Address of the first listener.")
    ] = None,
    data: DataOption = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            "--peer", metavar="AET@HOST:PORT", help="Another peer beside the settings'; may be repeated."
        ),
    ] = None,
    allow_unknown_peers: Annotated[
        bool, typer.Option("--allow-unknown-peers", help="Let any AE title from any address associate.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a node until SIGTERM or Ctrl+C.

    The first signal lets associations finish (`association.drain_seconds`), a second one ends them at once;
    SIGHUP reads the peers again. With --json the first line on standard output says, once the node accepts
    associations: {"event": "listening", "ae_title", "addresses", "data_folder", "pid"}.
    """
    choices = {"ae_title": aet, "listen.0.port": port, "listen.0.host": bind}
    overrides: dict[str, Any] = {key: value for key, value in choices.items() if value is not None}
    if peer:
        overrides["peers+"] = [parse_peer(text) for text in peer]
    if allow_unknown_peers:
        overrides["admission.allow_unknown_peers"] = True
    load = partial(settings_from, config, data, overrides)
    settings = load()
    configure_logging(settings.logging)
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    raise typer.Exit(_run(settings, load, partial(_announce_json if as_json else _announce, settings)))


def _run(settings: Settings, load: Callable[[], Settings], announce: Callable[[Addresses], None]) -> int:
    from pacslite.node import Node  # noqa: PLC0415 - SQLAlchemy and pynetdicom take as long as all the rest

    with new_runner() as runner:
        return runner.run(run_until_stopped(Node(settings), load, announce))


def _announce_json(settings: Settings, addresses: Addresses) -> None:
    """Print the one line that tells a program where the node is."""
    event = {
        "event": "listening",
        "ae_title": settings.ae_title,
        "addresses": [{"host": host, "port": port} for host, port in addresses],
        "data_folder": str(settings.data_folder.absolute()),
        "pid": os.getpid(),
    }
    typer.echo(json.dumps(event))


def _announce(settings: Settings, addresses: Addresses) -> None:
    """Print where the node is and what a newcomer may type next."""
    where = ", ".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses)
    host, port = addresses[0]
    reachable = "localhost" if is_loopback(host) or host in _EVERY_INTERFACE else host
    titles = _dcmtk_titles(settings)
    lines = [
        f"pacslite {__version__}: {settings.ae_title} listens on {where}",
        f"data in {settings.data_folder.absolute()}",
        "",
        "From another terminal:",
        f"  echoscu{titles} {reachable} {port}",
        f"  storescu{titles} {reachable} {port} image.dcm",
        f"  pacslite send {shlex.quote(f'{settings.ae_title}@{reachable}:{port}')} folder/",
        "",
        "Ctrl+C lets associations finish and stops; twice, it stops at once.",
    ]
    typer.echo("\n".join(lines))


def _dcmtk_titles(settings: Settings) -> str:
    """Return the options with which DCMTK's tools are let in; none when any title is."""
    called = (
        ""
        if settings.accepts_any_called_ae
        else f" -aec {shlex.quote(settings.archives[0].titles(settings)[0])}"
    )
    if settings.accepts_unknown_peers or not settings.peers:
        return called
    return f" -aet {shlex.quote(settings.peers[0].ae_title)}{called}"
