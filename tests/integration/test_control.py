"""The control socket: what a keeper asks of a node that runs, and what is done when none does."""

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.jobs import wait_until
from support.nodes import RunningNode, node_settings, running_node

from pacslite.archive import operations
from pacslite.archive.archive import Archive
from pacslite.archive.operation import Arguments, Operation, Progress
from pacslite.control import conversation, server
from pacslite.control import keeper as keeper_module
from pacslite.control.addresses import connect
from pacslite.control.client import NodeClient
from pacslite.control.keeper import open_keeper
from pacslite.control.messages import MAX_REQUEST_BYTES, encode, error_of, socket_path
from pacslite.index.jobs import enqueue
from pacslite.model.errors import (
    ConfigurationError,
    DataFolderError,
    NotFoundError,
    OperationError,
    OperationStoppedError,
    OutOfResourcesError,
    PacsliteError,
)
from pacslite.settings.schema import ArchiveSettings, AssociationSettings
from pacslite.storage.lock import DataFolderLock

TWO = [ArchiveSettings(name="main", ae_titles=["A"]), ArchiveSettings(name="copy", ae_titles=["B"])]


class Text(Arguments):
    text: str = ""


class Hold:
    """An operation that goes on until the test lets it, telling its progress all the while."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.ends: list[str] = []
        self.at_work = 0
        self.most_at_work = 0

    def __call__(self, archive: Archive, arguments: Text, progress: Progress) -> str:
        self.at_work += 1
        self.most_at_work = max(self.at_work, self.most_at_work)
        self.begun.release()
        try:
            while not self.go_on.wait(0.01):
                progress(len(self.ends), None, arguments.text)
        except PacsliteError as error:
            self.ends.append(str(error))
            raise
        finally:
            self.at_work -= 1
        self.ends.append("done")
        return archive.name


def echo(archive: Archive, arguments: Text, progress: Progress) -> dict[str, str]:
    progress(1, 2, "words")
    return {"archive": archive.name, "text": arguments.text}


def fail(_archive: Archive, arguments: Text, _progress: Progress) -> None:
    raise NotFoundError("no such thing") if arguments.text == "missing" else ZeroDivisionError("Doe^Jane")


@pytest.fixture
def hold() -> Iterator[Hold]:
    made = Hold()
    yield made
    made.go_on.set()


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch, hold: Hold) -> None:
    """Let nodes and keepers know a few operations more."""
    more = {
        "echo": Operation(Text, echo, is_reading=True),
        "fail": Operation(Text, fail),
        "hold": Operation(Text, hold),
        "abandon": Operation(Text, hold, is_abandonable=True),
        "read": Operation(Text, hold, is_reading=True),
    }
    monkeypatch.setattr(operations, "OPERATIONS", {**operations.OPERATIONS, **more})


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with running_node(tmp_path / "data", archives=TWO) as running:
        yield running


@contextmanager
def asking(data_folder: Path, operation: str, **arguments: str) -> Iterator[socket.socket]:
    """Ask on a connection of one's own, and hang up at the end."""
    with connect(data_folder, 10.0) as connection:
        connection.sendall(encode({"operation": operation, "arguments": arguments}))
        yield connection


def answers(connection: socket.socket) -> list[dict[str, Any]]:
    """Return every line until the node hangs up."""
    with connection.makefile("rb") as lines:
        return [json.loads(line) for line in lines]


def said_to(data_folder: Path, said: bytes) -> list[dict[str, Any]]:
    with connect(data_folder, 10.0) as connection:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        return answers(connection)


class Asker(threading.Thread):
    """Asks from a thread, as a process of its own would."""

    def __init__(self, data_folder: Path, name: str, archive: str | None = None, **arguments: str) -> None:
        super().__init__(daemon=True)
        self._ask = (data_folder, name, archive, arguments)
        self.result: Any = None
        self.progress: list[tuple[int, int | None, str]] = []
        self.start()

    def run(self) -> None:
        folder, name, archive, arguments = self._ask
        client = NodeClient.find(folder)
        assert client is not None
        try:
            self.result = client.call(name, arguments, progress=self._note, archive=archive)
        except PacsliteError as error:
            self.result = error

    def _note(self, done: int, total: int | None, what: str) -> None:
        self.progress.append((done, total, what))


def test_a_running_node_does_it(node: RunningNode) -> None:
    told: list[tuple[int, int | None, str]] = []
    with open_keeper(node.settings) as keeper:
        assert (keeper.via, keeper.is_alone) == (f"node process {os.getpid()}", False)
        result = keeper.call("echo", {"text": "käse"}, progress=lambda *step: told.append(step))
        assert result == {"archive": "main", "text": "käse"}
        assert keeper.call("echo", {}, archive="copy")["archive"] == "copy"
    assert told in ([], [(1, 2, "words")])  # an end may come before a step is told


def test_without_a_node_the_command_does_it(tmp_path: Path) -> None:
    settings = node_settings(tmp_path, archives=TWO)
    told: list[tuple[int, int | None, str]] = []
    with open_keeper(settings) as keeper:
        assert (keeper.via, keeper.is_alone) == ("no node runs", True)
        result = keeper.call("echo", {"text": "a"}, progress=lambda *step: told.append(step))
        assert result == {"archive": "main", "text": "a"}
        assert keeper.call("echo", {}, archive="copy")["archive"] == "copy"
        with pytest.raises(DataFolderError, match=f"process {os.getpid()}"):
            DataFolderLock(tmp_path).acquire()
    assert told == [(1, 2, "words")]
    with DataFolderLock(tmp_path):
        pass


def test_a_keeper_alone_does_what_it_promised(tmp_path: Path) -> None:
    settings = node_settings(tmp_path)
    with open_keeper(settings) as keeper:
        keeper.call("echo", {})
        archive: Archive = keeper._archive("main")  # type: ignore[attr-defined] # the one without a node
        doomed = archive.store.folder / "node1" / "x.dcm"
        doomed.write_bytes(b"x")
        archive.writer.submit(
            lambda transaction: enqueue(transaction, "remove-files", {"paths": ["node1/x.dcm"]})
        ).result()
    assert not doomed.exists()


def test_jobs_that_cannot_be_done_now_do_not_spoil_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise OutOfResourcesError("The index cannot be written")

    monkeypatch.setattr(keeper_module, "do_due_jobs", refuse)
    with capture_logs() as events, open_keeper(node_settings(tmp_path)) as keeper:
        assert keeper.call("echo", {"text": "a"})["text"] == "a"
    assert "jobs.left" in [event["event"] for event in events]


def test_a_folder_held_by_who_takes_no_commands_is_named_with_its_owner(tmp_path: Path) -> None:
    with (
        DataFolderLock(tmp_path),
        pytest.raises(DataFolderError, match=rf"in use by process {os.getpid()}, which takes no commands"),
        open_keeper(node_settings(tmp_path)),
    ):
        pass


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "stopped"])
@pytest.mark.parametrize(
    ("asked", "archive", "kind", "text"),
    [
        (("fail", {"text": "missing"}), None, NotFoundError, "no such thing"),
        (("explode", {}), None, OperationError, "'explode'"),
        (("echo", {"colour": "red"}), None, OperationError, "colour"),
        (("echo", {}), "other", ConfigurationError, "'other'"),
    ],
    ids=["refused", "unknown", "wrong-arguments", "wrong-archive"],
)
def test_errors_are_the_same_with_and_without_a_node(
    tmp_path: Path,
    asked: tuple[str, dict[str, str]],
    archive: str | None,
    kind: type[PacsliteError],
    text: str,
    *,
    is_running: bool,
) -> None:
    with ExitStack() as stack:
        if is_running:
            stack.enter_context(running_node(tmp_path))
        keeper = stack.enter_context(open_keeper(node_settings(tmp_path)))
        assert keeper.is_alone is not is_running
        with pytest.raises(kind, match=text) as caught:
            keeper.call(*asked, archive=archive)
    assert type(caught.value) is kind


def test_a_bug_ends_the_operation_and_not_the_node(node: RunningNode) -> None:
    with node.healthy() as events, open_keeper(node.settings) as keeper:
        with pytest.raises(OperationError, match="an unexpected ZeroDivisionError") as caught:
            keeper.call("fail", {"text": "bug"})
        assert keeper.call("echo", {"text": "on"})["text"] == "on"
        failures = [event for event in events if event["event"] == "operation.failed"]
        events.clear()
    assert "Doe" not in str(caught.value)
    assert len(failures) == 1


@pytest.mark.parametrize(
    "said",
    [
        b"\n",
        b"hello\n",
        b"[]\n",
        b"\xff\xfe\n",
        b'{"operation": 1}\n',
        b'{"operation": "echo", "arguments": []}\n',
        b'{"operation": "echo", "more": 1}\n',
        b"[" * 100_000 + b"\n",
        b"{" + b'"a":{' * 50_000 + b"\n",
    ],
    ids=["empty", "text", "list", "not-utf8", "number", "arguments", "unknown-key", "deep", "deep-object"],
)
def test_garbage_is_answered_and_forgotten(node: RunningNode, said: bytes) -> None:
    with node.healthy():
        (answer,) = said_to(node.settings.data_folder, said)
    assert answer["error"]["kind"] == "OperationError"
    assert "not one that this node understands" in answer["error"]["text"]


def test_a_line_without_end_is_cut_off(node: RunningNode) -> None:
    with node.healthy(), connect(node.settings.data_folder, 10.0) as connection:
        said = b" " * (MAX_REQUEST_BYTES + 65536)
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(said)
        with suppress(ConnectionResetError):  # what was left unread resets the connection
            (answer,) = answers(connection)
            assert answer["error"]["text"] == "the request is too long"


def test_a_client_that_hangs_up_or_says_nothing_is_forgotten(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "REQUEST_SECONDS", 0.1)
    with node.healthy():
        assert said_to(node.settings.data_folder, b"") == []
        assert said_to(node.settings.data_folder, b'{"operation"') == []
        with connect(node.settings.data_folder, 10.0) as silent:
            assert answers(silent) == []
        wait_until(lambda: not node.node._control._conversations)


def test_a_client_that_does_not_read_is_given_up(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "SAY_SECONDS", 0.1)
    with node.healthy(), asking(node.settings.data_folder, "echo", text="x" * 3_000_000):
        wait_until(lambda: not node.node._control._conversations)


def test_the_socket_is_its_owners_and_goes_with_the_node(tmp_path: Path) -> None:
    with running_node(tmp_path):
        mode = socket_path(tmp_path).stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert not socket_path(tmp_path).exists()


def test_what_a_killed_node_left_of_its_socket_is_no_hindrance(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(socket_path(tmp_path)))
    with open_keeper(node_settings(tmp_path)) as keeper:
        assert keeper.is_alone
    with running_node(tmp_path) as node, open_keeper(node.settings) as keeper:
        assert not keeper.is_alone


def test_a_folder_whose_path_is_too_long_for_a_socket_has_one_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20) / ("longer" * 10)
    with running_node(folder) as node, open_keeper(node.settings) as keeper:
        assert keeper.call("echo", {"text": "far"})["text"] == "far"
        assert socket_path(folder).is_socket()
    assert not socket_path(folder).exists()


def test_a_folder_that_can_have_no_socket_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> socket.socket:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(server, "_bind", refuse)
    with capture_logs() as events, running_node(tmp_path) as node:
        assert node.address
    assert [event["why"] for event in events if event["event"] == "control.unavailable"] == [
        "Operation not permitted"
    ]


def test_changes_take_turns_and_who_waits_is_told(node: RunningNode, hold: Hold) -> None:
    folder = node.settings.data_folder
    first = Asker(folder, "hold", text="first")
    assert hold.begun.acquire(timeout=10)
    second = Asker(folder, "hold")
    wait_until(lambda: (0, None, "waiting for another command") in second.progress)
    wait_until(lambda: (0, None, "first") in first.progress)
    hold.go_on.set()
    for asker in (first, second):
        asker.join(10)
        assert asker.result == "main"
    assert hold.most_at_work == 1


def test_reading_and_other_archives_do_not_wait(node: RunningNode, hold: Hold) -> None:
    folder = node.settings.data_folder
    askers = [Asker(folder, "hold"), Asker(folder, "hold", "copy"), Asker(folder, "read")]
    for _ in askers:
        assert hold.begun.acquire(timeout=10)
    assert hold.at_work == 3
    hold.go_on.set()
    for asker in askers:
        asker.join(10)
    assert [asker.result for asker in askers] == ["main", "copy", "main"]


def test_a_change_goes_on_without_the_one_who_asked(node: RunningNode, hold: Hold) -> None:
    with node.healthy():
        with asking(node.settings.data_folder, "hold"):
            assert hold.begun.acquire(timeout=10)
        with open_keeper(node.settings) as keeper:
            assert keeper.call("echo", {"text": "on"})["text"] == "on"
        assert hold.ends == []
        hold.go_on.set()
        wait_until(lambda: hold.ends == ["done"])
        wait_until(lambda: not node.node._control._conversations)


def test_what_only_served_the_one_who_asked_ends_at_a_safe_point(node: RunningNode, hold: Hold) -> None:
    with asking(node.settings.data_folder, "abandon"):
        assert hold.begun.acquire(timeout=10)
    wait_until(lambda: hold.ends == ["nobody waits for it any longer"])


def test_who_goes_away_before_its_turn_changes_nothing(node: RunningNode, hold: Hold) -> None:
    folder = node.settings.data_folder
    first = Asker(folder, "hold")
    assert hold.begun.acquire(timeout=10)
    with asking(folder, "hold") as connection, connection.makefile("rb") as lines:
        assert b"waiting" in lines.readline()
    wait_until(lambda: len(node.node._control._conversations) == 1)
    hold.go_on.set()
    first.join(10)
    with open_keeper(node.settings) as keeper:
        assert keeper.call("hold", {}) == "main"
    assert hold.ends == ["done", "done"]


def test_too_many_clients_are_told_to_come_back(
    node: RunningNode, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CONVERSATIONS", 2)
    askers = [Asker(node.settings.data_folder, "read") for _ in range(2)]
    for _ in askers:
        assert hold.begun.acquire(timeout=10)
    with open_keeper(node.settings) as keeper, pytest.raises(OperationError, match="busy"):
        keeper.call("echo", {})
    hold.go_on.set()
    for asker in askers:
        asker.join(10)


def test_a_drain_waits_for_what_is_under_way(node: RunningNode, hold: Hold) -> None:
    asker = Asker(node.settings.data_folder, "hold")
    with connect(node.settings.data_folder, 10.0):  # who has not asked yet is not waited for
        assert hold.begun.acquire(timeout=10)
        threading.Timer(0.2, hold.go_on.set).start()
        node.call(node.node.drain)
        assert hold.ends == ["done"]
    asker.join(10)
    assert asker.result == "main"
    with open_keeper(node.settings) as keeper, pytest.raises(OperationStoppedError, match="shutting down"):
        keeper.call("echo", {})


def test_a_drain_does_not_wait_for_ever_and_a_stop_ends_it(tmp_path: Path, hold: Hold) -> None:
    with running_node(tmp_path, association=AssociationSettings(drain_seconds=0.3)) as node:
        askers = [Asker(tmp_path, "hold") for _ in range(2)]  # one at it, one that waits for its turn
        assert hold.begun.acquire(timeout=10)
        wait_until(lambda: len(node.node._control._conversations) == 2)
        started = time.monotonic()
        node.call(node.node.drain)
        assert 0.3 <= time.monotonic() - started < 5.0
        assert hold.ends == []
        node.call(node.node.stop)
    for asker in askers:
        asker.join(10)
        assert isinstance(asker.result, OperationStoppedError)
    assert hold.ends == ["the node is shutting down"]
    with DataFolderLock(tmp_path):
        pass


def test_a_node_that_ends_in_the_middle_is_an_error(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(socket_path(tmp_path)))
        listening.listen()
        client = NodeClient.find(tmp_path)
        assert client is not None
        listening.accept()[0].close()

        def answer(said: bytes) -> None:
            accepted, _ = listening.accept()
            with accepted:
                accepted.recv(1000)
                accepted.sendall(said)

        for said in (b"", b'{"progress":{"done":1,"total":2,"what":"x"}}\n', b'{"progr'):
            thread = threading.Thread(target=answer, args=(said,))
            thread.start()
            with pytest.raises(OperationError):
                client.call("echo", {})
            thread.join(10)


def test_errors_of_other_kinds_come_as_the_nearest_known() -> None:
    assert type(error_of({"kind": "NotFoundError", "text": "x"})) is NotFoundError
    assert type(error_of({"kind": "Invented", "text": "x"})) is OperationError
