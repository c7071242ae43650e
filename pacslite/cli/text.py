"""Text that others wrote, on a terminal."""


def printable(text: str) -> str:
    """Return `text` without what steers a terminal: it may hold file names, or words of a peer."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
