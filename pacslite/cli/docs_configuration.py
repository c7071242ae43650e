"""docs/configuration.md, from the settings' schema."""

import json
from collections.abc import Iterator
from typing import Any, Final

from pydantic.fields import FieldInfo

from pacslite.settings.document import variable_name
from pacslite.settings.keys import all_keys, is_list, section_of
from pacslite.settings.schema import Section, Settings

_HEAD: Final = """\
# Configuration

<!-- Written by `make docs` from pacslite/settings. -->

`pacslite serve --config FILE` reads a YAML file; `config/pacslite.yaml` is one with every key at its default.
A key that is left out keeps its default. Unknown keys, keys that stand twice and values of the wrong type are
errors, told with file, line and the nearest right key: `pacslite config check --config FILE` tells them all.

Environment variables win over the file: `{example}` for `storage.reserve_bytes`, two
underscores for each level. Numbers, booleans and lists in them are read as YAML:
`PACSLITE_LISTEN='[{{host: 127.0.0.1, port: 104}}]'`. Options of a command win over both.
`pacslite config show` prints the outcome.

Sizes are in bytes and times in seconds, as the keys say.

## Who may associate

A node whose listeners are all on loopback (127.0.0.0/8, ::1, localhost) and that knows no peers serves anyone
on this machine under any called AE title. Otherwise calling AE titles and addresses must be among `peers`,
and the called AE title must be one of an archive, unless `admission` says something else. Binding any other
address needs `peers` or `admission.allow_unknown_peers: true`: without, the node does not start.
"""


def configuration_page() -> str:
    """Return the page as Markdown."""
    head = _HEAD.format(example=variable_name("storage.reserve_bytes"))
    return "\n".join([head, *_section("The node", Settings, ""), *_nested()])


def _nested() -> Iterator[str]:
    for key, field in all_keys():
        section = section_of(field.annotation)
        if section:
            many = is_list(field.annotation)
            title = f"`{key}`" + (" (a list)" if many else "")
            yield from _section(title, section, f"{key}[]." if many else f"{key}.")


def _section(title: str, section: type[Section], prefix: str) -> Iterator[str]:
    yield f"## {title}\n"
    if prefix:
        yield f"{(section.__doc__ or '').strip()}\n"
    yield "| Key | Default | Value | Meaning |"
    yield "|---|---|---|---|"
    schema = section.model_json_schema()
    for name, field in section.model_fields.items():
        if section_of(field.annotation):
            row = (f"`{prefix}{name}`", "see below", "list" if is_list(field.annotation) else "keys")
        else:
            row = (f"`{prefix}{name}`", _default(field), _kind(schema["properties"][name], schema))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in (*row, field.description or "")) + " |"
    yield ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default: Any = field.default
    plain = getattr(default, "value", default)
    return f"`{json.dumps(plain if isinstance(plain, str | list | int | float | None) else str(plain))}`"


def _kind(schema: dict[str, Any], whole: dict[str, Any]) -> str:
    """Say in words what values a JSON schema takes."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return " or ".join(_kind(choice, whole) for choice in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("format") == "path":
        return "path"
    words = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text"}
    words |= {"array": "list of text", "null": "null"}
    return words[schema["type"]] + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f", {least} to {most}"
    if least is not None:
        return f", at least {least}"
    return ", more than 0" if "exclusiveMinimum" in schema else ""
