"""Messages from fragments (PS3.7 6.3, PS3.8 E)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import pdus

from pacslite.dimse.assembly import MAX_COMMAND_BYTES, InvalidMessageError, MessageAssembler
from pacslite.dimse.commands import Command, InvalidCommandError
from pacslite.dimse.sinks import DiscardingSink, MemorySink

ECHO, STORE = pdus.echo_rq(), pdus.store_rq("1.2.3")
COMMAND, LAST = pdus.COMMAND, pdus.LAST


class Messages:
    """Takes messages; a data set is kept whole."""

    def __init__(self) -> None:
        self.commands: list[tuple[int, int]] = []
        self.data_sets: list[bytes] = []
        self.sink = MemorySink(1_000_000)

    def command_received(self, context_id: int, command: Command) -> MemorySink | None:
        if command.message_id == 999:
            raise InvalidCommandError("not this one")
        self.commands.append((context_id, command.field))
        self.sink = MemorySink(1_000_000)
        return self.sink if command.has_data_set else None

    def data_set_received(self) -> None:
        self.data_sets.append(bytes(self.sink.data))


@pytest.fixture
def messages() -> Messages:
    return Messages()


@pytest.fixture
def assembler(messages: Messages) -> MessageAssembler:
    return MessageAssembler(messages)


def take(
    assembler: MessageAssembler, control: int, data: bytes, *, context_id: int = 3, is_whole: bool = True
) -> None:
    assembler.take(context_id, control, memoryview(data), is_whole=is_whole, is_own=False)


def test_command_without_a_data_set_is_a_message(assembler: MessageAssembler, messages: Messages) -> None:
    take(assembler, COMMAND | LAST, ECHO, context_id=1)
    assert messages.commands == [(1, pdus.C_ECHO_RQ)]
    assert not assembler.is_message_open


def test_message_is_open_until_its_data_set_is_whole(assembler: MessageAssembler, messages: Messages) -> None:
    steps = [(COMMAND, STORE[:10]), (COMMAND | LAST, STORE[10:]), (0, b"da"), (LAST, b"ta")]
    states = [(assembler.is_message_open, assembler.sink is not None)]
    for control, data in steps:
        take(assembler, control, data)
        states.append((assembler.is_message_open, assembler.sink is not None))
    assert states == [(False, False), (True, False), (True, True), (True, True), (False, False)]
    assert messages.data_sets == [b"data"]


def test_last_fragment_counts_only_with_its_last_piece(
    assembler: MessageAssembler, messages: Messages
) -> None:
    take(assembler, COMMAND | LAST, STORE[:10], is_whole=False)
    assert messages.commands == []
    take(assembler, COMMAND | LAST, STORE[10:])
    take(assembler, LAST, b"da", is_whole=False)
    assert messages.data_sets == []
    take(assembler, LAST, b"ta")
    assert messages.data_sets == [b"data"]


@settings(deadline=None)
@given(st.data())
def test_any_fragmentation_gives_the_same_messages(data: st.DataObject) -> None:
    messages = Messages()
    assembler = MessageAssembler(messages)
    data_sets = data.draw(st.lists(st.binary(max_size=30), min_size=1, max_size=3))
    for data_set in data_sets:
        for kind, content in ((COMMAND, STORE), (0, data_set)):
            size = data.draw(st.integers(1, 40))
            for start in range(0, len(content) or 1, size):
                last = LAST if start + size >= len(content) else 0
                take(assembler, kind | last, content[start : start + size])
    assert messages.data_sets == data_sets


def test_data_set_without_a_command_is_refused(assembler: MessageAssembler) -> None:
    with pytest.raises(InvalidMessageError, match="without a command"):
        take(assembler, LAST, b"data")


def test_data_set_that_was_not_announced_is_refused(assembler: MessageAssembler) -> None:
    take(assembler, COMMAND | LAST, ECHO)
    with pytest.raises(InvalidMessageError, match="without a command"):
        take(assembler, LAST, b"data")


def test_data_within_a_command_is_refused(assembler: MessageAssembler) -> None:
    take(assembler, COMMAND, STORE[:10])
    with pytest.raises(InvalidMessageError, match="without a command"):
        take(assembler, 0, b"data")


def test_command_within_a_data_set_is_refused(assembler: MessageAssembler) -> None:
    take(assembler, COMMAND | LAST, STORE)
    with pytest.raises(InvalidMessageError, match="within a data set"):
        take(assembler, COMMAND | LAST, ECHO)


@pytest.mark.parametrize("control", [0, COMMAND])
def test_change_of_context_within_a_message_is_refused(assembler: MessageAssembler, control: int) -> None:
    take(assembler, COMMAND | LAST, STORE)
    with pytest.raises(InvalidMessageError, match="two presentation contexts"):
        take(assembler, control, b"data", context_id=5)


def test_next_message_may_come_on_another_context(assembler: MessageAssembler, messages: Messages) -> None:
    take(assembler, COMMAND | LAST, ECHO, context_id=1)
    take(assembler, COMMAND | LAST, ECHO, context_id=5)
    assert [context_id for context_id, _ in messages.commands] == [1, 5]


def test_enormous_command_set_is_refused_while_it_comes(assembler: MessageAssembler) -> None:
    for _ in range(MAX_COMMAND_BYTES // 4096):
        take(assembler, COMMAND, bytes(4096))
    with pytest.raises(InvalidMessageError, match="more than"):
        take(assembler, COMMAND, b"\0")


def test_what_is_no_command_set_is_refused(assembler: MessageAssembler) -> None:
    with pytest.raises(InvalidMessageError):
        take(assembler, COMMAND | LAST, b"\xff" * 20)


def test_command_that_its_receiver_refuses_is_refused(assembler: MessageAssembler) -> None:
    with pytest.raises(InvalidMessageError, match="not this one"):
        take(assembler, COMMAND | LAST, pdus.echo_rq(999))


def test_memory_sink_keeps_no_more_than_its_limit() -> None:
    sink = MemorySink(5)
    for piece in (b"123", b"456", b"45"):
        sink.write(memoryview(piece), is_own=False)
    assert bytes(sink.data) == b"12345"
    assert sink.is_over_limit


def test_discarding_sink_wants_no_memory() -> None:
    sink = DiscardingSink()
    sink.write(memoryview(b"123"), is_own=False)
    sink.abort()
    assert sink.buffer() is None  # type: ignore[func-returns-value] # the protocol's way to say no
