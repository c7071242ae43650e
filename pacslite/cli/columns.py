"""Text in columns, as wide as it is: what is piped on must not be cut to a terminal's width."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from pacslite.cli.text import printable

_GAP: Final = "  "


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> Iterator[str]:
    """Yield a line for each row, its cells aligned with those above; columns of `right` to the right."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield _GAP.join(padded).rstrip()
