"""The receivers that are compared: how each is found, configured, started and known to be ready."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any, Final

from bench.association import Association
from bench.processes import Process, StepError, environment

OURS: Final = "pacslite"
LOOPBACK: Final = "127.0.0.1"

_READY_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.02
_SYSTEM_FOLDERS: Final = ("/usr/sbin", "/usr/local/sbin")
"""Where Debian keeps Orthanc; not on every user's PATH."""


@dataclass(frozen=True)
class Peer:
    """A receiver of the comparison.

    Parameters
    ----------
    name
        What `--peers` and the tables call it.
    title
        What it is, for the reader of the report.
    ae_title
        The title it is called by.
    version
        Returns its version, or None when it is not installed.
    command
        Writes its configuration into a folder and returns the command that serves on a port.
    has_own_port
        It takes a free port itself and says which in a first line of JSON.
    """

    name: str
    title: str
    ae_title: str
    version: Callable[[], str | None]
    command: Callable[[Path, int], list[str]]
    has_own_port: bool = False


@dataclass(frozen=True)
class Receiver:
    """A peer that answers C-ECHO at `address`; `folder` is its own."""

    peer: Peer
    address: tuple[str, int]
    process: Process
    folder: Path
    environ: Mapping[str, str]

    def associate(self, timeout_seconds: float = 10.0) -> Association:
        """Return an association with the receiver; raise `StepError` when it gives none."""
        return Association(self.address, self.peer.ae_title, timeout_seconds)


@contextlib.contextmanager
def running(peer: Peer, folder: Path, environ: Mapping[str, str]) -> Iterator[Receiver]:
    """Run `peer` with its data in the empty `folder`, whose files are gone afterwards.

    Raises
    ------
    StepError
        It ended, or did not answer a C-ECHO in time.
    """
    folder.mkdir()
    whole = environment(environ)
    port = 0 if peer.has_own_port else _free_port()
    try:
        process = Process(peer.command(folder, port), folder, whole)
        try:
            address = _ready_address(peer, process, port)
            yield Receiver(peer, address, process, folder, whole)
        finally:
            process.end()
    finally:
        shutil.rmtree(folder)


def _ready_address(peer: Peer, process: Process, port: int) -> tuple[str, int]:
    """Wait until `peer` answers a C-ECHO."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            address = _announced_address(process) if peer.has_own_port else (LOOPBACK, port)
            with Association(address, peer.ae_title) as association:
                association.echo()
        except StepError as error:
            if process.has_ended:
                raise StepError(f"{peer.name} ended at its start: {process.last_words()}") from error
            if time.monotonic() > deadline:
                raise StepError(f"{peer.name} is not ready after {_READY_SECONDS:.0f} s: {error}") from error
            time.sleep(_POLL_SECONDS)
        else:
            return address


def _announced_address(process: Process) -> tuple[str, int]:
    """Return what the first line of JSON on the process's output says."""
    for line in process.log.read_text(errors="replace").splitlines(keepends=True):
        if line.startswith("{") and line.endswith("\n"):
            first = json.loads(line)["addresses"][0]
            return first["host"], first["port"]
    raise StepError("no address announced")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        port: int = taken.getsockname()[1]
        return port


def program(name: str) -> str | None:
    """Return the path of an installed program, or None."""
    folders = [*os.get_exec_path(), *_SYSTEM_FOLDERS]
    return shutil.which(name, path=os.pathsep.join(folders))


def _program_version(name: str) -> str | None:
    """Return the version in the first line that `name --version` prints."""
    path = program(name)
    if path is None:
        return None
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=30)
    found = re.search(r"\d+(\.\d+)+", answer.stdout)
    return found.group() if found else "of unknown version"


def _package_version(name: str) -> str | None:
    try:
        return distribution_version(name)
    except PackageNotFoundError:
        return None


def _pacslite(folder: Path, port: int) -> list[str]:
    data = str(folder / "data")
    return [sys.executable, "-m", "pacslite", "serve", "--port", str(port), "--json", "--data", data]


def _dcmtk_storescp(folder: Path, port: int) -> list[str]:
    # Its default, a single process, serves one association at a time.
    return ["storescp", "--fork", "-aet", "STORESCP", "-od", str(_made(folder / "store")), str(port)]


_DCMQRSCP_CONFIGURATION: Final = """\
MaxPDUSize = 16384
MaxAssociations = 1000
HostTable BEGIN
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
DCMQRSCP {store} RW (500, 1024mb) ANY
AETable END
"""


def _dcmqrscp(folder: Path, port: int) -> list[str]:
    file = folder / "dcmqrscp.cfg"
    file.write_text(_DCMQRSCP_CONFIGURATION.format(store=_made(folder / "store")))
    return ["dcmqrscp", "-c", str(file), str(port)]


def _orthanc(choices: Mapping[str, Any], folder: Path, port: int) -> list[str]:
    store = str(_made(folder / "store"))
    settings = {
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "HttpServerEnabled": False,
        "RemoteAccessAllowed": False,
        "StorageDirectory": store,
        "IndexDirectory": store,
        **choices,
    }
    file = folder / "orthanc.json"
    file.write_text(json.dumps(settings))
    return [program("Orthanc") or "Orthanc", str(file)]


def _qrscp(folder: Path, port: int) -> list[str]:
    store, index = str(_made(folder / "store")), str(folder / "index.sqlite")
    places = ["--instance-location", store, "--database-location", index]
    return [sys.executable, "-m", "pynetdicom", "qrscp", "-q", "-ba", LOOPBACK, "--port", str(port), *places]


def _pynetdicom_storescp(folder: Path, port: int) -> list[str]:
    store = str(_made(folder / "store"))
    return [sys.executable, "-m", "pynetdicom", "storescp", "-q", "-ba", LOOPBACK, "-od", store, str(port)]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


PEERS: Final = (
    Peer(
        OURS,
        "pacslite, default settings",
        "PACSLITE",
        partial(_package_version, "pacslite"),
        _pacslite,
        has_own_port=True,
    ),
    Peer(
        "storescp",
        "DCMTK storescp --fork: files only, no index, no sync",
        "STORESCP",
        partial(_program_version, "storescp"),
        _dcmtk_storescp,
    ),
    Peer(
        "dcmqrscp",
        "DCMTK dcmqrscp: files and an index file, no sync",
        "DCMQRSCP",
        partial(_program_version, "dcmqrscp"),
        _dcmqrscp,
    ),
    Peer(
        "orthanc",
        "Orthanc, default settings (SyncStorageArea: true)",
        "ORTHANC",
        partial(_program_version, "Orthanc"),
        partial(_orthanc, {}),
    ),
    Peer(
        "orthanc-nosync",
        "Orthanc with SyncStorageArea: false",
        "ORTHANC",
        partial(_program_version, "Orthanc"),
        partial(_orthanc, {"SyncStorageArea": False}),
    ),
    Peer(
        "qrscp",
        "pynetdicom qrscp: files and SQLite, no sync",
        "QRSCP",
        partial(_package_version, "pynetdicom"),
        _qrscp,
    ),
    Peer(
        "pynetdicom-storescp",
        "pynetdicom storescp: files only, no index, no sync",
        "STORESCP",
        partial(_package_version, "pynetdicom"),
        _pynetdicom_storescp,
    ),
)
"""pacslite first: the others are compared with it."""
