"""What a trace of the system calls says about the order of file, index and answer."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from support import pdus
from support.scripted_peer import parse_command

TRACED = (
    "openat,mkdir,mkdirat,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,"
    "sendto,sendmsg,rename,renameat,renameat2,link,linkat,unlink,unlinkat,ftruncate,truncate"
)
SHOWN_BYTES = 4200
"""A page of the index, so that the path of an instance is seen in the log."""

_LINE = re.compile(r"(\d+) +(\d+\.\d+) (.*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)", re.DOTALL)
_DESCRIPTOR = re.compile(r"\d+<(.*?)>(?=[,)]|$)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_UNFINISHED = " <unfinished ...>"
_WRITES = frozenset({"write", "writev", "pwrite64", "pwritev", "pwritev2"})
_SYNCS = frozenset({"fsync", "fdatasync"})
_SENDS = frozenset({"write", "writev", "sendto", "sendmsg"})
_MOVES = frozenset({"rename", "renameat", "renameat2", "link", "linkat", "truncate", "ftruncate"})
_REMOVALS = frozenset({"unlink", "unlinkat"})
_FRAME_HEADER_BYTES = 24
_SUCCESS = 0x0000


class OrderError(AssertionError):
    """A Success went out before what it promises was durable."""


@dataclass(frozen=True)
class Call:
    """A system call that succeeded; `begun` and `ended` count the trace's lines."""

    name: str
    path: str
    data: bytes
    arguments: str
    begun: int
    ended: int


@dataclass(frozen=True)
class Answer:
    """A C-STORE-RSP with Success, and when the first byte of it could leave."""

    sop_instance_uid: str
    sent: int


def parse_trace(lines: Iterable[str]) -> list[Call]:
    """Return the successful calls of `strace -f -yy -ttt`, in the order in which they ended."""
    unfinished: dict[str, tuple[int, str]] = {}
    calls: list[Call] = []
    for number, line in enumerate(lines):
        match = _LINE.match(line)
        if match is None:
            continue
        thread, _, text = match.groups()
        text = text.rstrip("\n")
        if text.endswith(_UNFINISHED):
            unfinished[thread] = number, text.removesuffix(_UNFINISHED)
            continue
        begun = number
        resumed = _RESUMED.match(text)
        if resumed is not None:
            begun, first = unfinished.pop(thread)
            text = first + text[resumed.end() :]
        call = _parse_call(text, begun, number)
        if call is not None:
            calls.append(call)
    return calls


def check_store_order(calls: list[Call], paths: dict[str, str], data_folder: str) -> int:
    """Check each Success in `calls`; return how many there are.

    Parameters
    ----------
    calls
        Of the node, from its first start on.
    paths
        SOP Instance UID → absolute path of its file, as the index has it.
    data_folder
        Folders that were made below it count too.

    Raises
    ------
    OrderError
        Says what was not durable, and of which file.
    """
    history = _History(calls, PurePosixPath(data_folder))
    answers = list(_answers(calls))
    for answer in answers:
        history.check(paths[answer.sop_instance_uid], answer.sent)
    return len(answers)


class _History:
    def __init__(self, calls: list[Call], data_folder: PurePosixPath) -> None:
        self._calls = calls
        self._data_folder = data_folder
        self._log = str(data_folder / "archives" / "main" / "index.sqlite-wal")

    def check(self, path: str, sent: int) -> None:
        for moved in self._of(_MOVES):
            if path in moved.arguments:
                raise OrderError(f"{moved.name} of {path}")
        made = self._first(self._made(path), f"{path} was not made")
        written = [call for call in self._of(_WRITES, path) if call.begun < sent]
        if not written:
            raise OrderError(f"{path} was not written")
        self._check_entry(path, made, written[0].begun)
        for folder in PurePosixPath(path).parents:
            if folder.is_relative_to(self._data_folder):
                for call in self._made(str(folder)):
                    self._check_entry(str(folder), call, sent)
        synced = self._sync_of(path, written[-1].ended, sent, "its last write")
        if any(call.ended > synced.begun for call in written):
            raise OrderError(f"{path} was written after it was synced")
        committed = self._committed(path, synced.ended)
        self._sync_of(self._log, committed.ended, sent, f"the commit of {path}")
        for call in self._made_anew(self._log):
            self._check_entry(self._log, call, sent)

    def _of(self, names: frozenset[str], path: str | None = None) -> Iterator[Call]:
        return (call for call in self._calls if call.name in names and path in (None, call.path))

    def _made(self, path: str) -> Iterator[Call]:
        for call in self._calls:
            is_file = call.name == "openat" and "O_CREAT" in call.arguments
            if (is_file or call.name in ("mkdir", "mkdirat")) and call.path == path:
                yield call

    def _made_anew(self, path: str) -> Iterator[Call]:
        """Yield what made a file that was not there: SQLite opens its log with O_CREAT every time."""
        made, removed = set(self._made(path)), self._of(_REMOVALS, path)
        is_there = False
        for call in sorted([*made, *removed], key=lambda call: call.ended):
            if call in made and not is_there:
                yield call
            is_there = call in made

    def _check_entry(self, path: str, made: Call, before: int) -> None:
        """Check that the folder that holds `path` was synced between `made` and `before`."""
        folder = str(PurePosixPath(path).parent)
        self._sync_of(folder, made.ended, before, f"{path} was made in it")

    def _sync_of(self, path: str, after: int, before: int, what: str) -> Call:
        syncs = (call for call in self._of(_SYNCS, path) if call.begun > after and call.ended < before)
        return self._first(syncs, f"{path} was not synced after {what}")

    def _committed(self, path: str, after: int) -> Call:
        """Return the write that ended the first transaction that names `path` in the index's log."""
        store = self._data_folder / "archives" / "main" / "store"
        name = str(PurePosixPath(path).relative_to(store)).encode()
        is_named = is_commit = False
        for call in self._of(_WRITES, self._log):
            if len(call.data) == _FRAME_HEADER_BYTES:
                # a frame's header says how large the database is after a commit; 0 within a transaction
                is_commit = any(call.data[4:8])
                continue
            is_named = is_named or name in call.data
            if is_named and call.begun < after:
                raise OrderError(f"{path} was in the index before it was synced")
            if is_named and is_commit:
                return call
        raise OrderError(f"{path} was not committed")

    @staticmethod
    def _first(calls: Iterator[Call], otherwise: str) -> Call:
        call = next(calls, None)
        if call is None:
            raise OrderError(otherwise)
        return call


def _answers(calls: list[Call]) -> Iterator[Answer]:
    for call in calls:
        if call.name in _SENDS and call.path.startswith("TCP"):
            for uid in _successes(call.data):
                yield Answer(uid, call.begun)


def _successes(data: bytes) -> Iterator[str]:
    """Return the instances of the C-STORE-RSPs with Success among the PDUs that are sent."""
    while len(data) > 12:
        length = int.from_bytes(data[2:6], "big")
        if data[0] == pdus.P_DATA:
            command = parse_command(data[12 : 6 + length])
            if command[0x0100] == pdus.us(pdus.C_STORE_RSP) and command[0x0900] == pdus.us(_SUCCESS):
                yield command[0x1000].decode("ascii").rstrip("\0")
        data = data[6 + length :]


def _parse_call(text: str, begun: int, ended: int) -> Call | None:
    match = _CALL.match(text)
    if match is None or int(match[3]) < 0:
        return None
    name, arguments = match[1], match[2]
    strings = [_unescape(quoted) for quoted in _QUOTED.findall(arguments)]
    if name in {"openat", "mkdir", "mkdirat"} | _REMOVALS:
        return Call(name, strings[0].decode(), b"", arguments, begun, ended)
    descriptor = _DESCRIPTOR.match(arguments)
    path = descriptor[1] if descriptor is not None else ""
    return Call(name, path, b"".join(strings), arguments, begun, ended)


def _unescape(quoted: str) -> bytes:
    """Return the bytes that strace shows with C's escapes, octal ones among them."""
    return quoted.encode("latin-1").decode("unicode_escape").encode("latin-1")
