"""From a YAML file, the environment and the command line to checked settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pacslite.model.errors import ConfigurationError
from pacslite.settings.document import Document, add_environment, read_file
from pacslite.settings.keys import KeyPath, dotted, nearest_key
from pacslite.settings.schema import Settings
from pacslite.settings.values import KeyedError

_COMMAND_LINE: Final = "command line"
_EXPECTED: Final = {
    "bool_type": "expected true or false",
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "string_type": "expected text; put it in quotes",
    "list_type": "expected a list",
    "model_type": "expected keys with values",
    "path_type": "expected the path of a folder",
    "missing": "is missing",
    "invalid_key": "a key is a word",
    "too_short": "expected at least one item",
}
_SECRET_KEYS: Final = frozenset({"index_url"})
_SHOWN_LENGTH: Final = 40


class SettingsError(ConfigurationError):
    """The settings are wrong; `problems` has one text for each thing to mend."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def load_settings(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the settings of the file at `path`, changed by `environ`, then by `overrides`.

    Parameters
    ----------
    path
        A YAML file; None: the defaults.
    environ
        Variables whose names start with `PACSLITE_` count; None: none do.
    overrides
        Values by dotted key, `listen.0.port` for the first listener's; a list at a key with a final `+`
        (`peers+`) is appended to what the file says.

    Raises
    ------
    ConfigurationError
        When anything is wrong; the text names file and line or variable, key, and the nearest right key.
    """
    document = read_file(path) if path else Document()
    add_environment(document, environ or {})
    for key, value in (overrides or {}).items():
        _override(document, key, value)
    try:
        settings = Settings.model_validate(document.values)
    except ValidationError as error:
        raise SettingsError(
            document.problems + [_describe(item, document) for item in error.errors()]
        ) from None
    if document.problems:
        raise SettingsError(document.problems)
    return settings


def _override(document: Document, key: str, value: Any) -> None:
    path: KeyPath = tuple(
        int(part) if part.isdecimal() else part for part in key.removesuffix("+").split(".")
    )
    if key.endswith("+"):
        present = document.values.get(str(path[0])) or []
        value = [*present, *value] if isinstance(present, list) else present
    document.set(path, value, _COMMAND_LINE)


def _describe(error: ErrorDetails, document: Document) -> str:
    cause = error.get("ctx", {}).get("error")
    path: KeyPath = error["loc"]
    if isinstance(cause, KeyedError):
        path = tuple(cause.key.split("."))
    source = document.source_of(path)
    where = f"{source}: {dotted(path)}" if source else dotted(path)
    if error["type"] == "extra_forbidden":
        return f"{where}: there is no such setting{_hint(path)}"
    if error["type"] in _EXPECTED:
        message = _EXPECTED[error["type"]]
    else:
        message = error["msg"].removeprefix("Value error, ")
        message = message.replace("Input should be", "expected").replace("String should", "should")
    return f"{where}: {message}{_shown(path, error)}"


def _hint(path: KeyPath) -> str:
    key = nearest_key(path)
    if key is None:
        return ""
    return f"; did you mean {key}?"


def _shown(path: KeyPath, error: ErrorDetails) -> str:
    """Say what stood there, unless it is long, secret or in the message already."""
    value = error["input"]
    if (
        error["type"] in ("missing", "invalid_key")
        or isinstance(value, dict | list)
        or _SECRET_KEYS.intersection(path)
    ):
        return ""
    shown = repr(value) if value is not None else "nothing"
    return f", not {shown}" if len(shown) <= _SHOWN_LENGTH and shown not in error["msg"] else ""
