"""What the figures were measured on, without the machine's name or paths."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import psutil


def filesystem_type(folder: Path) -> str:
    """Return the type of the file system that holds `folder`, such as ext4."""
    resolved = folder.resolve()
    mounts = [
        (len(partition.mountpoint), partition.fstype)
        for partition in psutil.disk_partitions(all=True)
        if resolved.is_relative_to(partition.mountpoint)
    ]
    return max(mounts)[1] if mounts else "unknown"


def facts(folder: Path) -> dict[str, str]:
    """Return what the reader of a figure asks first."""
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "file system": filesystem_type(folder),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": platform.python_version(),
        "load before the start": f"{os.getloadavg()[0]:.1f}",
    }
