"""Settings before they are checked: plain values, and where each of them was written."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from pacslite.model.errors import ConfigurationError
from pacslite.settings.keys import KeyPath, dotted, find_field, is_container, is_text, nearest_key

ENVIRONMENT_PREFIX: Final = "PACSLITE_"
NESTING: Final = "__"


@dataclass
class Document:
    """Values as YAML, environment and command line gave them.

    Parameters
    ----------
    values
        Nested mappings and lists.
    sources
        Where the value at a path was written, as messages show it.
    problems
        What is wrong already, each a complete message.
    """

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def source_of(self, path: KeyPath) -> str | None:
        """Return where the value at `path`, or the nearest that it is a part of, was written."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.sources:
                return self.sources[path[:length]]
        return None

    def set(self, path: KeyPath, value: Any, source: str) -> None:
        """Put `value` at `path`, with the mappings and first list items that are missing on its way.

        What already stands on the way and is of another kind stays: the schema will complain about it.
        """
        here: Any = self.values
        for part, following in itertools.pairwise(path):
            missing: Any = [{}] if isinstance(following, int) else {}
            here = here.setdefault(part, missing) if isinstance(here, dict) else _item(here, part)
        if isinstance(here, dict):
            here[path[-1]] = value
            self.sources[path] = source


def _item(here: Any, part: str | int) -> Any:
    is_there = isinstance(here, list) and isinstance(part, int) and part < len(here)
    return here[part] if is_there else None


def read_file(path: Path) -> Document:
    """Return what the YAML file at `path` says.

    Raises
    ------
    ConfigurationError
        When the file cannot be read, is no YAML, or holds no keys; the text names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"{path}: cannot be read: {reason}") from None
    document = Document(sources={(): str(path)})
    try:
        values = _construct(text, document)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigurationError(f"{path}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}: expected keys with values, such as `ae_title: PACSLITE`")
    document.values = _without_empty_sections(values)
    return document


def _construct(text: str, document: Document) -> Any:
    """Return the value that the YAML `text` describes, after noting its lines in `document`."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        _note_lines(document, node, (), ())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _without_empty_sections(values: dict[Any, Any]) -> dict[str, Any]:
    """Leave out sections and lists of which every line is commented out: YAML reads them as null."""
    return {
        key: value
        for key, value in values.items()
        if value is not None or not isinstance(key, str) or not is_container(key)
    }


def _note_lines(document: Document, node: yaml.Node, path: KeyPath, ancestors: tuple[yaml.Node, ...]) -> None:
    """Note the line of every value under `node`, and each key that stands twice in its mapping."""
    if node in ancestors:
        raise yaml.MarkedYAMLError(problem="a value contains itself", problem_mark=node.start_mark)
    file = document.sources[()]
    if path:
        document.sources[path] = f"{file}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            _note_lines(document, item, (*path, position), (*ancestors, node))
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            where = f"{file}:{key.start_mark.line + 1}"
            if name in seen:
                document.problems.append(f"{where}: {dotted((*path, name))}: this key stands there twice")
            seen.add(name)
            _note_lines(document, value, (*path, name), (*ancestors, node))
            document.sources[*path, name] = where


def add_environment(document: Document, environ: Mapping[str, str]) -> None:
    """Add the variables that start with `PACSLITE_` to `document`.

    Two underscores lead into a section: `PACSLITE_STORAGE__RESERVE_BYTES`. Text stands as it is; numbers,
    booleans and lists are read as YAML.
    """
    for variable in sorted(environ):
        if variable.startswith(ENVIRONMENT_PREFIX):
            _add_variable(document, variable, environ[variable])


def variable_name(key: str) -> str:
    """Return the environment variable that sets `key`."""
    return ENVIRONMENT_PREFIX + key.upper().replace(".", NESTING)


def _add_variable(document: Document, variable: str, text: str) -> None:
    source = f"environment variable {variable}"
    path = tuple(variable.removeprefix(ENVIRONMENT_PREFIX).lower().split(NESTING))
    if len(path) > 1 and is_container(path[0], lists_only=True):
        document.problems.append(f"{source}: give {variable_name(path[0])} the whole list, as YAML")
        return
    field = find_field(path)
    if field is None:
        key = nearest_key(path)
        hint = f"; did you mean {variable_name(key)}?" if key and "[]" not in key else ""
        document.problems.append(f"{source}: there is no such setting{hint}")
        return
    try:
        value = text if is_text(field) else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        document.problems.append(f"{source}: not valid YAML")
        return
    document.set(path, value, source)
