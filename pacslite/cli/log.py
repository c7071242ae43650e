"""Logging of a process: structlog and the standard library's loggers, in one form on standard error."""

import logging
import sys
from typing import Final, TextIO

import structlog
from structlog.typing import Processor

from pacslite.settings.schema import LoggingSettings

_MAY_QUOTE_DATA: Final = ("pydicom", "pynetdicom", "py.warnings")
"""Loggers whose messages repeat values of the data sets they are about; they speak at level debug only."""

_TALKATIVE: Final = ("alembic",)
"""Loggers whose `info` is about themselves; they speak from warning on, or at level debug."""


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at that moment, so that a redirection later on holds for it too."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # the base class keeps the stream it was given
        """The stream to write to."""
        return sys.stderr


def configure_logging(settings: LoggingSettings) -> None:
    """Send every logger's messages from `settings.level` on to standard error.

    Tracebacks come without local variables, and libraries that quote values of data sets are heard at level
    debug only: `info` and above hold no patient data.
    """
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(settings.format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    quiet = dict.fromkeys(_MAY_QUOTE_DATA, logging.CRITICAL) | dict.fromkeys(_TALKATIVE, logging.WARNING)
    for name, least in quiet.items():
        logging.getLogger(name).setLevel(logging.NOTSET if level == logging.DEBUG else least)


def _renderers(form: str) -> list[Processor]:
    if form == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
    ]
