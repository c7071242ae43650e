"""Peers as commands name them: `AET@host:port`, or the name that the settings give them."""

import difflib
import re
from typing import Final

from pydantic import ValidationError

from pacslite.model.errors import ConfigurationError
from pacslite.settings.schema import PeerSettings, Settings

DEFAULT_PORT: Final = 104
"""The well-known port of DICOM (PS3.8 9.1.1)."""

_PEER = re.compile(r"(?P<ae_title>.+)@(?P<host>\[[^\]]+\]|[^@:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")


def parse_peer(text: str) -> PeerSettings:
    """Return the peer that `text` describes as `AET@host:port`.

    An IPv6 address stands in brackets; without `:port` it is 104. The peer's name is the text.

    Raises
    ------
    ConfigurationError
        When the text has another form, or a part of it is out of bounds.
    """
    match = _PEER.fullmatch(text.strip())
    if match is None:
        raise ConfigurationError(f"{text!r} is no peer: expected AET@host:port")
    try:
        return PeerSettings(
            name=text.strip(),
            ae_title=match["ae_title"],
            host=match["host"],
            port=int(match["port"] or DEFAULT_PORT),
        )
    except ValidationError as error:
        what = error.errors()[0]
        message = what["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{text!r} is no peer: {what['loc'][0]}: {message}") from None


def find_peer(settings: Settings, text: str) -> PeerSettings:
    """Return the peer that `text` means: one of the settings by its name, else `AET@host:port`.

    Raises
    ------
    ConfigurationError
        When it is neither; the text names the nearest known peer.
    """
    by_name = {peer.name: peer for peer in settings.peers}
    if text in by_name:
        return by_name[text]
    if "@" in text:
        return parse_peer(text)
    nearest = difflib.get_close_matches(text, by_name, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else "write AET@host:port, or list it under `peers`"
    raise ConfigurationError(f"no peer is named {text!r}; {hint}")
