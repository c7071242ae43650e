"""What became of a rebuild."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class ReindexReport:
    """What became of a rebuild.

    Parameters
    ----------
    files
        Files that were read.
    instances, conflicts, jobs
        Rows of the new index.
    unavailable
        Instances among them that have no file: deleted, lost, or damaged.
    former
        What the former index was used for: `used`, `none`, or why it could not be read.
    kept_as
        Where the former index lies now; None: there was none.
    left
        Path and reason of each file that was left alone.
    seconds
        How long it took.
    """

    files: int = 0
    instances: int = 0
    conflicts: int = 0
    jobs: int = 0
    unavailable: int = 0
    former: str = "none"
    kept_as: str | None = None
    left: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
