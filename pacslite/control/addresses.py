"""Where the control socket is, also where the path of the data folder is longer than a socket's may be."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pacslite.control.messages import socket_path

_MAX_PATH_BYTES: Final = 103
"""What every system takes (`sun_path` of unix(7) less its end); Linux alone would take 107."""


@contextmanager
def socket_address(data_folder: Path) -> Iterator[str]:
    """Yield the address of the control socket, good for binding or connecting inside the block.

    A path too long for the system goes by way of an open folder in `/proc`.
    """
    path = socket_path(data_folder.absolute())
    if len(os.fsencode(path)) <= _MAX_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def connect(data_folder: Path, timeout_seconds: float) -> socket.socket:
    """Return a connection to the node of `data_folder`.

    Raises
    ------
    OSError
        None listens.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_seconds)
        with socket_address(data_folder) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection
