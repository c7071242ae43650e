"""The state machine against the standard's tables, as pynetdicom has them (PS3.8 9.2)."""

import asyncio

import pytest
from pynetdicom.fsm import ACTIONS, TRANSITION_TABLE
from support import pdus

from pacslite.upperlayer.machine import Machine, UpperLayerTimers
from pacslite.upperlayer.pdu import AbortReason, AbortSource, PduType
from pacslite.upperlayer.ports import Ending
from pacslite.upperlayer.states import TRANSITIONS, Action, Event, State

TIMERS = UpperLayerTimers(artim_seconds=1000.0, idle_seconds=2000.0)

NO_ANSWER_STATES = {Action.AE_1}
"""The transport connection is opened by asyncio before there is a machine."""

RECEIVED_PDUS = {
    Event.EVT3_ASSOCIATE_AC_RECEIVED: pdus.associate_ac([]),
    Event.EVT4_ASSOCIATE_RJ_RECEIVED: pdus.associate_rj(1, 2, 3),
    Event.EVT6_ASSOCIATE_RQ_RECEIVED: pdus.associate_rq(),
    Event.EVT12_RELEASE_RQ_RECEIVED: pdus.release_rq(),
    Event.EVT13_RELEASE_RP_RECEIVED: pdus.release_rp(),
    Event.EVT16_ABORT_RECEIVED: pdus.abort(2, 5),
}


class Log(list[str]):
    """What happened, in order; plays negotiator and user of an association."""

    def __init__(self) -> None:
        super().__init__()
        self.endings: list[Ending] = []
        self.has_ended = asyncio.Event()

    def connected(self) -> None:
        self.append("connected")

    def associate_indication(self, pdu: bytes) -> None:
        self.append(f"associate indication {pdu[0]}")

    def associate_confirmation(self, pdu: bytes) -> None:
        self.append(f"associate confirmation {pdu[0]}")

    def reject_confirmation(self, result: int, source: int, reason: int) -> None:
        self.append(f"reject confirmation {result} {source} {reason}")

    def receive_buffer(self) -> None:
        self.append("receive buffer")

    def buffer_filled(self, received_bytes: int) -> None:
        self.append(f"filled {received_bytes}")

    def fragment_received(
        self, context_id: int, control: int, piece: memoryview, *, is_whole: bool, is_own: bool
    ) -> None:
        self.append(f"fragment {context_id} {control} {bytes(piece)!r} {is_whole} {is_own}")

    def release_indication(self) -> None:
        self.append("release indication")

    def release_confirmation(self) -> None:
        self.append("release confirmation")

    def writing_paused(self) -> None:
        self.append("paused")

    def writing_resumed(self) -> None:
        self.append("resumed")

    def ended(self, ending: Ending) -> None:
        self.append("ended")
        self.endings.append(ending)
        self.has_ended.set()


class LoggingMachine(Machine):
    """A machine without a transport."""

    def __init__(self, log: Log, *, is_requestor: bool) -> None:
        super().__init__(log, TIMERS, is_requestor=is_requestor)
        self.log = log

    def _write(self, data: bytes | memoryview) -> None:
        self.log.append(f"sent {bytes(data).hex()}")

    def _close_transport(self) -> None:
        self.log.append("closed")

    def _abort_transport(self) -> None:
        self.log.append("dropped")

    @property
    def is_artim_running(self) -> bool:
        return self._artim._deadline is not None

    @property
    def is_idle_running(self) -> bool:
        return self._idle._deadline is not None


REQUESTOR_STATES = {"Sta4", "Sta5", "Sta9", "Sta11"}


def machine_in(state: State, *, is_requestor: bool | None = None) -> LoggingMachine:
    """Return a machine in `state`, with a user where there would be one."""
    if is_requestor is None:
        is_requestor = state.value in REQUESTOR_STATES
    machine = LoggingMachine(Log(), is_requestor=is_requestor)
    machine.state = state
    if state.value in {"Sta6", "Sta7", "Sta8", "Sta9", "Sta10", "Sta11", "Sta12"}:
        machine.user = machine.log
    return machine


def fire(machine: LoggingMachine, event: Event) -> None:
    machine._pdu = RECEIVED_PDUS.get(event, b"")
    machine._expect(event) if event in RECEIVED_PDUS else machine._fire(event)


def sent(kind: PduType, *body: int) -> str:
    return "sent " + pdus.pdu(kind, bytes(body)).hex()


USER_ABORT = sent(PduType.ABORT, 0, 0, 0, 0)
UNEXPECTED_ABORT = sent(PduType.ABORT, 0, 0, 2, 2)
RELEASE_RQ = sent(PduType.RELEASE_RQ, 0, 0, 0, 0)
RELEASE_RP = sent(PduType.RELEASE_RP, 0, 0, 0, 0)


def test_transitions_are_those_of_the_standard() -> None:
    ours = {(event.value, state.value): action.value for (event, state), action in TRANSITIONS.items()}
    assert ours == TRANSITION_TABLE


def test_every_action_of_the_standard_has_an_effect_or_needs_none() -> None:
    effective = set(Machine._ACTIONS)
    by_data_path = {Action.DT_1, Action.DT_2, Action.AR_6, Action.AR_7, Action.AA_6}
    assert effective | by_data_path | NO_ANSWER_STATES == set(Action)
    assert not effective & by_data_path


ANSWERED_AT_ONCE = {"Sta9": "Sta11", "Sta12": "Sta13"}
"""A release collision needs no decision of the user's: these states are left as they are entered."""


@pytest.mark.parametrize(
    ("event", "state"), TRANSITIONS, ids=[f"{event.value}-{state.value}" for event, state in TRANSITIONS]
)
async def test_next_state_is_the_one_of_the_standard(event: Event, state: State) -> None:
    action = TRANSITIONS[event, state]
    if action in NO_ANSWER_STATES:
        return
    machine = machine_in(state)
    fire(machine, event)
    following = ACTIONS[action.value][2]
    expected = {following} if isinstance(following, str) else set(following)
    if action is Action.AA_6:
        expected = {"Sta13"}
    expected |= {ANSWERED_AT_ONCE[name] for name in expected & ANSWERED_AT_ONCE.keys()}
    assert machine.state.value in expected
    if machine.state is State.STA1_IDLE:
        assert not machine.is_artim_running
        assert not machine.is_idle_running
    if machine.state is State.STA13_AWAITING_CLOSE and state is not machine.state:
        assert machine.is_artim_running
        assert not machine.is_idle_running


EFFECTS = [
    (Event.EVT2_TRANSPORT_CONFIRMED, "Sta4", ["connected"]),
    (Event.EVT5_TRANSPORT_INDICATION, "Sta1", ["connected"]),
    (Event.EVT3_ASSOCIATE_AC_RECEIVED, "Sta5", ["associate confirmation 2"]),
    (Event.EVT4_ASSOCIATE_RJ_RECEIVED, "Sta5", ["closed", "reject confirmation 1 2 3"]),
    (Event.EVT6_ASSOCIATE_RQ_RECEIVED, "Sta2", ["associate indication 1"]),
    (Event.EVT11_RELEASE_REQUEST, "Sta6", [RELEASE_RQ]),
    (Event.EVT12_RELEASE_RQ_RECEIVED, "Sta6", ["release indication"]),
    (Event.EVT13_RELEASE_RP_RECEIVED, "Sta7", ["closed", "release confirmation"]),
    (Event.EVT14_RELEASE_RESPONSE, "Sta8", [RELEASE_RP]),
    (Event.EVT15_ABORT_REQUEST, "Sta6", [USER_ABORT, "ended"]),
    (Event.EVT15_ABORT_REQUEST, "Sta5", [USER_ABORT, "ended"]),
    (Event.EVT15_ABORT_REQUEST, "Sta4", ["dropped"]),
    (Event.EVT16_ABORT_RECEIVED, "Sta6", ["ended", "closed"]),
    (Event.EVT16_ABORT_RECEIVED, "Sta2", ["ended", "dropped"]),
    (Event.EVT16_ABORT_RECEIVED, "Sta13", ["dropped"]),
    (Event.EVT17_TRANSPORT_CLOSED, "Sta6", ["ended", "closed"]),
    (Event.EVT17_TRANSPORT_CLOSED, "Sta2", ["ended", "closed"]),
    (Event.EVT17_TRANSPORT_CLOSED, "Sta13", ["closed"]),
    (Event.EVT18_ARTIM_EXPIRED, "Sta2", ["ended", "dropped"]),
    (Event.EVT18_ARTIM_EXPIRED, "Sta13", ["dropped"]),
    (Event.EVT12_RELEASE_RQ_RECEIVED, "Sta2", [USER_ABORT, "ended"]),
    (Event.EVT6_ASSOCIATE_RQ_RECEIVED, "Sta6", [UNEXPECTED_ABORT, "ended"]),
    (Event.EVT6_ASSOCIATE_RQ_RECEIVED, "Sta13", [UNEXPECTED_ABORT]),
    (Event.EVT13_RELEASE_RP_RECEIVED, "Sta13", []),
]


@pytest.mark.parametrize(
    ("event", "state", "effects"), EFFECTS, ids=[f"{event.value}-{state}" for event, state, _ in EFFECTS]
)
async def test_effect_of_an_action(event: Event, state: str, effects: list[str]) -> None:
    machine = machine_in(State(state))
    fire(machine, event)
    assert machine.log == effects


async def test_association_is_accepted() -> None:
    machine = machine_in(State.STA3_AWAITING_LOCAL_ASSOCIATE_RESPONSE)
    machine.accept(b"\2answer", machine.log)
    assert machine.log == ["sent " + b"\2answer".hex()]
    assert machine.user is machine.log
    assert machine.is_idle_running


async def test_acceptance_comes_to_nothing_when_the_peer_has_left() -> None:
    machine = machine_in(State.STA1_IDLE)
    machine.accept(b"\2answer", machine.log)
    machine.reject(1, 1, 1)
    assert machine.log == []
    assert machine.user is None


async def test_association_is_rejected() -> None:
    machine = machine_in(State.STA3_AWAITING_LOCAL_ASSOCIATE_RESPONSE)
    machine.reject(2, 3, 2)
    assert machine.log == [sent(PduType.ASSOCIATE_RJ, 0, 2, 3, 2)]
    assert machine.state is State.STA13_AWAITING_CLOSE


async def test_release_collision_is_settled_by_the_requestor_first() -> None:
    requestor = machine_in(State.STA6_ESTABLISHED, is_requestor=True)
    acceptor = machine_in(State.STA6_ESTABLISHED, is_requestor=False)
    for machine in (requestor, acceptor):
        machine.request_release()
    for machine in (requestor, acceptor):
        fire(machine, Event.EVT12_RELEASE_RQ_RECEIVED)
    assert (requestor.state.value, acceptor.state.value) == ("Sta11", "Sta10")
    assert requestor.log == [RELEASE_RQ, RELEASE_RP]
    assert acceptor.log == [RELEASE_RQ]
    for machine in (requestor, acceptor):
        fire(machine, Event.EVT13_RELEASE_RP_RECEIVED)
    assert (requestor.state.value, acceptor.state.value) == ("Sta1", "Sta13")
    assert requestor.log[2:] == ["closed", "release confirmation"]
    assert acceptor.log[1:] == ["release confirmation", RELEASE_RP]


async def test_abort_says_who_and_why() -> None:
    machine = machine_in(State.STA6_ESTABLISHED)
    machine.abort("because", AbortSource.SERVICE_PROVIDER, AbortReason.INVALID_PARAMETER_VALUE)
    assert machine.log == [sent(PduType.ABORT, 0, 0, 2, 6), "ended"]
    assert machine.log.endings == [Ending("because", 2, 6)]


async def test_what_the_peer_says_in_its_abort_is_passed_on() -> None:
    machine = machine_in(State.STA6_ESTABLISHED)
    fire(machine, Event.EVT16_ABORT_RECEIVED)
    assert [(ending.source, ending.reason) for ending in machine.log.endings] == [(2, 5)]


async def test_end_is_reported_once() -> None:
    machine = machine_in(State.STA6_ESTABLISHED)
    machine.abort("first")
    machine.abort("second")
    fire(machine, Event.EVT17_TRANSPORT_CLOSED)
    assert [ending.description for ending in machine.log.endings] == ["first"]


@pytest.mark.parametrize("state", ["Sta6", "Sta8"])
async def test_data_is_sent_while_the_association_stands(state: str) -> None:
    machine = machine_in(State(state))
    machine.send_p_data(b"pdu")
    assert machine.log == ["sent " + b"pdu".hex()]


@pytest.mark.parametrize("state", ["Sta1", "Sta2", "Sta3", "Sta5", "Sta7", "Sta13"])
async def test_data_is_dropped_when_there_is_no_association(state: str) -> None:
    machine = machine_in(State(state))
    machine.send_p_data(b"pdu")
    assert machine.log == []


@pytest.mark.parametrize("state", ["Sta5", "Sta7"])
async def test_peer_that_does_not_answer_is_aborted_after_the_artim_time(state: str) -> None:
    machine = machine_in(State(state), is_requestor=True)
    machine._artim_seconds = 0.02
    if state == "Sta5":
        machine.request(b"request")
    else:
        machine.state = State.STA6_ESTABLISHED
        machine.request_release()
    machine.log.clear()
    async with asyncio.timeout(5):
        await machine.log.has_ended.wait()
    assert machine.log[:2] == [USER_ABORT, "ended"]
    assert machine.log.endings[0].is_timeout
