"""Person names: component groups, padding, forms for matching (PS3.5 6.2.1)."""

from pacslite.model.attributes import NAME_GROUPS
from pacslite.model.text import clean, clean_values, fold


def normalize_name(text: str) -> str:
    """Return one person name without padding and trailing delimiters: `DOE^JOHN^^^=` is `DOE^JOHN`.

    Spaces at either end of a component are padding (PS3.5 6.2.1.1).
    """
    groups = (
        "^".join(clean(component) for component in group.split("^")).rstrip("^") for group in text.split("=")
    )
    return "=".join(groups).rstrip("=")


def normalize_names(text: str) -> tuple[str, ...]:
    """Return the normalised names of a backslash-separated text, none for an empty one."""
    names = tuple(normalize_name(name) for name in clean_values(text))
    return names if any(names) else ()


def fold_groups(name: str) -> tuple[str, ...]:
    """Return the component groups of a normalised name, folded for comparison, always three.

    What stands behind a third `=` belongs to the third group: peers that break the rule keep their text.
    """
    groups = [fold(group) for group in name.split("=", len(NAME_GROUPS) - 1)]
    return (*groups, *[""] * (len(NAME_GROUPS) - len(groups)))
