"""Commands in this process, without a trace in its logging."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog
from typer.testing import CliRunner, Result

from pacslite.cli.app import app


@contextmanager
def logging_restored() -> Iterator[None]:
    """Take back what a command set up for its process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()
        root.handlers, root.level = handlers, level
        for name in ("pydicom", "pynetdicom", "py.warnings", "alembic"):
            logging.getLogger(name).setLevel(logging.NOTSET)


def run(*arguments: object, env: Mapping[str, str] | None = None) -> Result:
    """Run `pacslite` with `arguments`."""
    with logging_restored():
        return CliRunner().invoke(app, [str(argument) for argument in arguments], env=env)
