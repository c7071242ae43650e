"""`pacslite send`: files and folders to a peer."""

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from pacslite.cli.event_loop import new_runner
from pacslite.cli.exits import ExitCode
from pacslite.cli.options import (
    CallingOption,
    ConfigOption,
    JsonOption,
    PeerArgument,
    quiet_settings_from,
)
from pacslite.cli.text import printable
from pacslite.media.files import find_files
from pacslite.settings.peers import find_peer

if TYPE_CHECKING:
    from pacslite.client.store import SendResult

MAX_ASSOCIATIONS: Final = 64

_COUNTED: Final = {"stored": "stored", "warning": "with warnings", "failed": "failed", "skipped": "skipped"}


def send(
    peer: PeerArgument,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Files, and folders with all that is in them.")
    ],
    *,
    config: ConfigOption = None,
    associations: Annotated[
        int,
        typer.Option(
            "--associations", metavar="N", min=1, max=MAX_ASSOCIATIONS, help="Associations at a time."
        ),
    ] = 1,
    calling: CallingOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send the DICOM files at each PATH to PEER, as they are.

    Each file goes in its own transfer syntax; what is in a folder and is no DICOM instance is skipped. A lost
    association is asked for again a few times. With --json: a line for each file, {"event": "file", "path",
    "verdict", "status", "reason", "sop_class_uid", "sop_instance_uid", "transfer_syntax_uid"}, and at the end
    {"event": "summary", "stored", "warning", "failed", "skipped", "bytes", "seconds", "error"}.
    """
    from pacslite.client import store  # noqa: PLC0415 - pynetdicom, which --help need not wait for

    settings = quiet_settings_from(config, None)
    address = find_peer(settings, peer)
    sending = store.send(
        address,
        paths,
        calling_ae_title=calling or settings.ae_title,
        settings=settings.association,
        listener=(report := _JsonReport() if as_json else _TextReport(paths)),
        association_count=associations,
    )
    with report, new_runner() as runner:
        try:
            summary = runner.run(sending)
        except KeyboardInterrupt:
            report.close("interrupted")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        report.close(str(summary.error) if summary.error is not None else "")
    if summary.error is not None:
        raise typer.Exit(ExitCode.NETWORK)
    if report.counts["failed"] or not report.counts["stored"] + report.counts["warning"]:
        raise typer.Exit(ExitCode.FAILED)


class _Report:
    """Tells on the terminal, or to a program, how sending goes."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.sent_bytes = 0
        self._started_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to do."""

    def sent(self, byte_count: int) -> None:
        """Count bytes."""
        self.sent_bytes += byte_count

    def finished(self, result: "SendResult") -> None:
        """Count and tell of a file."""
        self.counts[result.verdict.value] += 1
        self._tell(result)

    def close(self, error: str) -> None:
        """Tell of them all; `error` is what kept some from being sent."""
        self._conclude(error, time.monotonic() - self._started_at)

    def _tell(self, result: "SendResult") -> None:
        raise NotImplementedError

    def _conclude(self, error: str, seconds: float) -> None:
        raise NotImplementedError


class _JsonReport(_Report):
    def _tell(self, result: "SendResult") -> None:
        line: dict[str, Any] = {
            "event": "file",
            "path": str(result.path),
            "verdict": result.verdict.value,
            "status": None if result.status is None else f"{result.status:04X}",
            "reason": result.reason,
        }
        for name in ("sop_class_uid", "sop_instance_uid", "transfer_syntax_uid"):
            line[name] = getattr(result.key, name, None)
        typer.echo(json.dumps(line))

    def _conclude(self, error: str, seconds: float) -> None:
        line = {
            "event": "summary",
            **{verdict: self.counts[verdict] for verdict in _COUNTED},
            "bytes": self.sent_bytes,
            "seconds": round(seconds, 3),
            "error": error or None,
        }
        typer.echo(json.dumps(line))


class _TextReport(_Report):
    """A line for each file; on a terminal a bar, and lines for those only that are not simply stored."""

    def __init__(self, paths: list[Path]) -> None:
        super().__init__()
        self._paths = paths
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._progress = Progress(
                TextColumn("{task.fields[files]} files"),
                BarColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                redirect_stdout=sys.stdout.isatty(),  # else its lines would leave the file they are meant for
                transient=True,
            )
            self._task = self._progress.add_task("", total=_total_bytes(self._paths), files=0)
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def sent(self, byte_count: int) -> None:
        super().sent(byte_count)
        if self._progress is not None:
            self._progress.advance(self._task, byte_count)

    def _tell(self, result: "SendResult") -> None:
        if self._progress is not None:
            self._progress.update(self._task, files=self.counts.total())
            if result.verdict.value == "stored":
                return
        status = "" if not result.status else f"{result.status:04X} "
        reason = f": {status}{result.reason}".rstrip() if status or result.reason else ""
        typer.echo(printable(f"{result.verdict.value:<8}{result.path}{reason}"))

    def _conclude(self, error: str, seconds: float) -> None:
        self.__exit__()
        told = [
            f"{self.counts[verdict]} {words}" for verdict, words in _COUNTED.items() if self.counts[verdict]
        ]
        what = ", ".join(told) or "nothing to send"
        typer.echo(f"{what}; {decimal(self.sent_bytes)} in {seconds:.1f} s")
        if error:
            typer.echo(f"pacslite: {error}", err=True)


def _total_bytes(paths: list[Path]) -> int:
    total = 0
    for file in find_files(paths):
        try:
            total += file.path.stat().st_size
        except OSError:
            continue
    return total
