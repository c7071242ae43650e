"""When the write-ahead log of SQLite is moved into the database: between two transactions of the writer."""

import sqlite3
from typing import Final

import structlog
from sqlalchemy import URL, Connection

from pacslite.index import sqlite

_FRAME_BYTES: Final = 4096 + 24
_MIN_COMMANDS: Final = 16

log = structlog.get_logger(__name__)


class Checkpointer:
    """Keeps the log near `limit_bytes`; does nothing for PostgreSQL, which looks after its own.

    The log's file does not shrink and SQLite tells its content's size only at a checkpoint, so the size is
    estimated from what the commands between the last two checkpoints wrote.
    """

    def __init__(self, url: URL, limit_bytes: int) -> None:
        self.count = 0
        self._url = url
        self._is_sqlite = sqlite.is_sqlite(url)
        self._limit_bytes = limit_bytes
        self._commands = 0
        self._due_commands = 0
        self._left_frames = 0

    @property
    def is_useful(self) -> bool:
        """Whether anything was written since the last checkpoint that moved all."""
        return self._is_sqlite and (self._commands > 0 or self._left_frames > 0)

    def note(self, commands: int) -> None:
        """Count commands that were committed."""
        self._commands += commands

    def wal_bytes(self) -> int:
        """Return the size of the log's file."""
        return sqlite.wal_bytes(self._url) if self._is_sqlite else 0

    def run_if_due(self, connection: Connection | None) -> None:
        """Checkpoint if the log is over its limit."""
        if self._is_sqlite and self._commands >= self._due_commands and self.wal_bytes() > self._limit_bytes:
            self.run(connection)

    def run(self, connection: Connection | None) -> None:
        """Move as much of the log as the readers allow; a failure waits for the next time."""
        if connection is None or not self.is_useful:
            return
        try:
            done = sqlite.checkpoint(connection)
        except sqlite3.Error as error:
            log.warning("index.checkpoint_failed", reason=str(error))
        else:
            self._schedule(done)
        self._commands = 0

    def _schedule(self, done: sqlite.Checkpoint) -> None:
        self.count += 1
        written = max(done.logged_frames - self._left_frames, 1)
        limit_frames = self._limit_bytes // _FRAME_BYTES
        self._due_commands = max(_MIN_COMMANDS, self._commands * limit_frames // written)
        self._left_frames = 0 if done.is_complete else done.logged_frames
