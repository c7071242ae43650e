"""The kinds of value that settings hold, each with its bounds."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field

from pacslite.model.uids import is_legal_uid

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

MAX_AE_TITLE_LENGTH: Final = 16
_NOT_IN_HOST = re.compile(r"[\s@/\\]")


class KeyedError(ValueError):
    """A rule that spans several settings is broken; `key` is the dotted path of the one to change."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def require_unique(key: str, what: str, values: list[str]) -> None:
    """Raise KeyedError for `key` when one of `values`, each a `what`, stands there twice."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise KeyedError(key, f"the {what} {value!r} stands there twice")
        seen.add(value)


def check_ae_title(text: str) -> str:
    """Return the AE title `text` without its insignificant spaces (PS3.5 6.2).

    Raises
    ------
    ValueError
        When it is empty, longer than 16 characters, or holds a backslash, a control character or one
        outside ASCII.
    """
    title = text.strip(" ")
    if not 1 <= len(title) <= MAX_AE_TITLE_LENGTH:
        raise ValueError(f"an AE title has 1 to {MAX_AE_TITLE_LENGTH} characters, this one has {len(title)}")
    if "\\" in title or not (title.isascii() and title.isprintable()):
        raise ValueError("an AE title has printable ASCII characters only, and no backslash")
    return title


def check_host(text: str) -> str:
    """Return the host name or IP address `text`; an IPv6 address may stand in brackets.

    Raises
    ------
    ValueError
        When it is empty or cannot be a host.
    """
    host = text.strip()
    if host.startswith("[") and host.endswith("]"):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    if not host or _NOT_IN_HOST.search(host) or not host.isprintable():
        raise ValueError("expected a host name or an IP address")
    if ":" in host:
        ipaddress.IPv6Address(host.partition("%")[0])
    return host


def check_network(text: str) -> str:
    """Return the IP address or CIDR block `text` in its canonical form.

    Raises
    ------
    ValueError
        When it is neither.
    """
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"expected an IP address or a block like 10.0.0.0/24, not {text!r}") from None


def check_uid(text: str) -> str:
    """Return `text` if it is a UID (PS3.5 9.1).

    Raises
    ------
    ValueError
        When it is none.
    """
    if not is_legal_uid(text):
        raise ValueError(f"expected a UID, not {text!r}")
    return text


def check_folder(value: object) -> object:
    """Return `value` if a path can be made of it, with `~` expanded.

    Raises
    ------
    ValueError
        When it is empty or holds a NUL character.
    """
    if isinstance(value, str):
        if not value or "\0" in value:
            raise ValueError("expected the path of a folder")
        return Path(value).expanduser()
    return value


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener bound to `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


FOLDER_NAME_PATTERN: Final = r"^[a-z0-9-]{1,32}$"

AeTitle = Annotated[str, AfterValidator(check_ae_title)]
Host = Annotated[str, AfterValidator(check_host)]
Network = Annotated[str, AfterValidator(check_network)]
Uid = Annotated[str, AfterValidator(check_uid)]
Folder = Annotated[Path, BeforeValidator(check_folder)]
FolderName = Annotated[str, Field(pattern=FOLDER_NAME_PATTERN)]
PeerName = Annotated[str, Field(min_length=1, max_length=80)]
Flag = Annotated[bool, Field(strict=True)]
ListenPort = Annotated[int, Field(strict=True, ge=0, le=65535)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Count = Annotated[int, Field(strict=True, ge=1, le=100_000)]
ThreadCount = Annotated[int, Field(strict=True, ge=1, le=64)]
Bytes = Annotated[int, Field(strict=True, ge=1)]
BytesOrZero = Annotated[int, Field(strict=True, ge=0)]
Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
