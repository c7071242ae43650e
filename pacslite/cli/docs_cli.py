"""docs/cli.md, from the commands themselves."""

import inspect
from collections.abc import Iterator
from typing import Any, Final

from typer.main import get_command

from pacslite.cli.app import app
from pacslite.cli.exits import MEANINGS

_HEAD: Final = """\
# Command line

<!-- Written by `make docs` from pacslite/cli. -->

A peer is written `AET@host:port`, an IPv6 address in brackets, or by the name that the settings give it.
Without `--config` the defaults hold; `docs/configuration.md` has them all. Results go to standard output,
messages and progress to standard error.

## Exit codes

| Code | Meaning |
|---|---|
"""


def cli_page() -> str:
    """Return the page as Markdown."""
    codes = "".join(f"| {code.value} | {meaning} |\n" for code, meaning in MEANINGS.items())
    return _HEAD + codes + "\n" + "\n".join(_command("pacslite", get_command(app)))


def _command(path: str, command: Any) -> Iterator[str]:
    """Yield the lines about `command` and those below it."""
    arguments = [item for item in command.params if item.param_type_name == "argument"]
    options = [item for item in command.params if item.param_type_name == "option" and not item.hidden]
    children = getattr(command, "commands", {})
    words = [path, *(["[OPTIONS]"] if options else []), *(_argument(item) for item in arguments)]
    yield f"## `{' '.join([*words, *(['COMMAND'] if children else [])])}`\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    if arguments or options:
        yield "| | Default | Meaning |"
        yield "|---|---|---|"
        yield from (_row(f"`{_argument(item)}`", item) for item in arguments)
        yield from (_row(_option(item), item) for item in options)
        yield ""
    for name, child in children.items():
        yield from _command(f"{path} {name}", child)


def _argument(item: Any) -> str:
    name = item.metavar or item.name.upper()
    return f"{name}..." if item.nargs == -1 else str(name)


def _option(item: Any) -> str:
    value = "" if item.is_flag else f" {item.metavar}"
    return ", ".join(f"`{flag}{value}`" for flag in item.opts)


def _row(first: str, item: Any) -> str:
    has_default = item.default not in (None, False, [], ()) and not item.required
    default = f"`{item.default}`" if has_default else ""
    return f"| {first} | {default} | {item.help or ''} |".replace("  ", " ")
