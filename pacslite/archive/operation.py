"""What a keeper's command is to an archive: a function with typed arguments, run outside the event loop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pacslite.model.errors import OperationError

if TYPE_CHECKING:
    from pacslite.archive.archive import Archive


class Progress(Protocol):
    """Is told how far an operation has come.

    Every call is a safe point: it may raise `OperationStoppedError`, when the node stops or the one who asked
    has gone and the operation `is_abandonable`. What was done until then stays done.
    """

    def __call__(self, done: int, total: int | None, what: str, /) -> None:
        """Tell that `done` of `total` (None: not known) are done, and what they are, such as "files"."""


class Arguments(BaseModel):
    """The arguments of an operation, by name; unknown ones are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


ArgumentsT = TypeVar("ArgumentsT", bound=Arguments)


@dataclass(frozen=True, slots=True)
class Operation(Generic[ArgumentsT]):
    """What can be asked of a started archive by name.

    Parameters
    ----------
    arguments
        What `run` takes.
    run
        Does it and returns what JSON can say. It changes the index through `archive.writer` and files
        through `archive.store` only, calls its progress at least every few seconds, may block, and bears that
        the process is killed at any point of it.
    is_reading
        Whether it changes nothing, and so may run beside others; all others run one at a time per archive.
    is_abandonable
        Whether it ends at its next progress when the one who asked has gone.
    """

    arguments: type[ArgumentsT]
    run: "Callable[[Archive, ArgumentsT, Progress], Any]"
    is_reading: bool = False
    is_abandonable: bool = False

    def parse(self, given: Mapping[str, Any]) -> ArgumentsT:
        """Return the arguments that `given` says.

        Raises
        ------
        OperationError
            One is unknown, missing or of a wrong kind; the text names each, never its value.
        """
        try:
            return self.arguments.model_validate(given)
        except ValidationError as error:
            told = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            raise OperationError("; ".join(told)) from None


def ignore_progress(done: int, total: int | None, what: str) -> None:
    """Be a `Progress` that tells nobody and never stops anything."""
