"""What the schema has where: fields by dotted path, and the nearest right key to a wrong one."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic.fields import FieldInfo

from pacslite.settings.schema import Section, Settings

KeyPath = tuple[str | int, ...]
"""Where a value stands: keys, and positions in lists."""


def dotted(path: Sequence[str | int]) -> str:
    """Return `path` as messages show it: `peers.0.host`."""
    return ".".join(str(part) for part in path)


def section_of(annotation: Any) -> type[Section] | None:
    """Return the section that values of `annotation` are, or are lists of."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def is_list(annotation: Any) -> bool:
    """Whether values of `annotation` are lists."""
    return get_origin(annotation) is list


def is_container(key: str, *, lists_only: bool = False) -> bool:
    """Whether the top-level `key` holds a list, or, unless `lists_only`, a section."""
    field = Settings.model_fields.get(key)
    if field is None:
        return False
    return is_list(field.annotation) or (not lists_only and section_of(field.annotation) is not None)


def find_field(path: Sequence[str | int]) -> FieldInfo | None:
    """Return the field of the schema at `path`; None when there is none."""
    section: type[Section] | None = Settings
    field: FieldInfo | None = None
    for part in path:
        if isinstance(part, int):
            continue
        field = section.model_fields.get(part) if section else None
        if field is None:
            return None
        section = section_of(field.annotation)
    return field


def keys_at(path: Sequence[str | int]) -> list[str]:
    """Return the keys that a mapping at `path` may have."""
    field = find_field(path)
    section = section_of(field.annotation) if field else None if path else Settings
    return list(section.model_fields) if section else []


def nearest_key(path: Sequence[str | int]) -> str | None:
    """Return the right key that the misspelt or misplaced one at `path` was probably meant to be."""
    *parent, last = path
    matches = difflib.get_close_matches(str(last), keys_at(parent), n=1)
    if matches:
        return dotted([*parent, matches[0]])
    everywhere = {key.rpartition(".")[2]: key for key, _ in all_keys()}
    matches = difflib.get_close_matches(str(last), everywhere, n=1, cutoff=0.8)
    return everywhere[matches[0]] if matches else None


def all_keys(section: type[Section] = Settings, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield each key of `section` with its field, depth first; the items of a list stand under `key[]`."""
    for name, field in section.model_fields.items():
        key = f"{prefix}{name}"
        yield key, field
        nested = section_of(field.annotation)
        if nested:
            yield from all_keys(nested, f"{key}[]." if is_list(field.annotation) else f"{key}.")


def is_text(field: FieldInfo) -> bool:
    """Whether the field takes text as it stands, so that an environment variable needs no quotes for it."""
    return not is_list(field.annotation) and not {bool, int, float}.intersection(
        _plain_types(field.annotation)
    )


def _plain_types(annotation: Any) -> set[Any]:
    if get_origin(annotation) is Annotated:
        return {get_args(annotation)[0]}
    parts = get_args(annotation)
    return set().union(*(_plain_types(part) for part in parts)) if parts else {annotation}
