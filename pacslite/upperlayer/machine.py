"""The Upper Layer state machine at work (PS3.8 9.2)."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from pacslite.upperlayer.pdu import AbortReason, AbortSource, PduType, encode_fixed
from pacslite.upperlayer.ports import AssociationUser, Ending, Negotiator
from pacslite.upperlayer.states import TRANSITIONS, Action, Event, State
from pacslite.upperlayer.timers import LazyTimer

_RECEIVED: Final = {
    PduType.ASSOCIATE_RQ: Event.EVT6_ASSOCIATE_RQ_RECEIVED,
    PduType.ASSOCIATE_AC: Event.EVT3_ASSOCIATE_AC_RECEIVED,
    PduType.ASSOCIATE_RJ: Event.EVT4_ASSOCIATE_RJ_RECEIVED,
    PduType.RELEASE_RQ: Event.EVT12_RELEASE_RQ_RECEIVED,
    PduType.RELEASE_RP: Event.EVT13_RELEASE_RP_RECEIVED,
    PduType.ABORT: Event.EVT16_ABORT_RECEIVED,
}


@dataclass(frozen=True, slots=True)
class UpperLayerTimers:
    """How long the upper layer waits.

    Parameters
    ----------
    artim_seconds
        The Association Request/Reject/Release Timer (PS3.8 9.1.5).
    idle_seconds
        An association without a byte in either direction for so long is aborted.
    """

    artim_seconds: float
    idle_seconds: float


class Machine(ABC):
    """The state of one association and the actions of the standard's Tables 9-6 to 9-9.

    Parameters
    ----------
    negotiator
        Decides until the association is established.
    timers
        How long to wait.
    is_requestor
        Whether we ask for the association.

    Notes
    -----
    Lives in the event loop's thread. No input makes a method raise.
    """

    def __init__(self, negotiator: Negotiator, timers: UpperLayerTimers, *, is_requestor: bool) -> None:
        loop = asyncio.get_running_loop()
        self.state = State.STA4_AWAITING_TRANSPORT if is_requestor else State.STA1_IDLE
        self.user: AssociationUser | None = None
        self._negotiator = negotiator
        self._artim_seconds = timers.artim_seconds
        self._idle_seconds = timers.idle_seconds
        self._is_requestor = is_requestor
        self._artim = LazyTimer(loop, lambda: self._fire(Event.EVT18_ARTIM_EXPIRED))
        self._idle = LazyTimer(loop, self._idle_expired)
        self._pdu = b""
        self._ending = Ending("")

    @abstractmethod
    def _write(self, data: bytes | memoryview) -> None:
        """Send bytes to the peer."""

    @abstractmethod
    def _close_transport(self) -> None:
        """Close the transport connection, once what was written is sent."""

    @abstractmethod
    def _abort_transport(self) -> None:
        """Close the transport connection at once."""

    def request(self, pdu: bytes) -> None:
        """Send our A-ASSOCIATE-RQ; the ARTIM time bounds the wait for its answer."""
        self._write(pdu)
        self._idle.start(self._artim_seconds)

    def accept(self, pdu: bytes, user: AssociationUser) -> None:
        """Answer the A-ASSOCIATE-RQ with our A-ASSOCIATE-AC `pdu`."""
        if self.state is State.STA3_AWAITING_LOCAL_ASSOCIATE_RESPONSE:
            self._pdu = pdu
            self.user = user
            self._fire(Event.EVT7_ASSOCIATE_ACCEPT)

    def reject(self, result: int, source: int, reason: int) -> None:
        """Answer the A-ASSOCIATE-RQ with an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
        self._pdu = encode_fixed(PduType.ASSOCIATE_RJ, result, source, reason)
        self._fire(Event.EVT8_ASSOCIATE_REJECT)

    def send_p_data(self, pdus: bytes | memoryview) -> None:
        """Send whole P-DATA-TF PDUs, whose memory stays as it is; dropped when the association is gone."""
        if (Event.EVT9_P_DATA_REQUEST, self.state) in TRANSITIONS:
            self._idle.start(self._idle_seconds)
            self._write(pdus)

    def request_release(self) -> None:
        """Send an A-RELEASE-RQ; without an answer within the ARTIM time the association is aborted."""
        self._fire(Event.EVT11_RELEASE_REQUEST)

    def respond_to_release(self) -> None:
        """Answer the peer's A-RELEASE-RQ."""
        self._fire(Event.EVT14_RELEASE_RESPONSE)

    def abort(
        self,
        description: str,
        source: AbortSource = AbortSource.SERVICE_USER,
        reason: AbortReason = AbortReason.NOT_SPECIFIED,
        *,
        is_timeout: bool = False,
    ) -> None:
        """Send an A-ABORT and be rid of the association (PS3.8 9.3.8)."""
        self._ending = Ending(description, source, reason, is_timeout)
        self._fire(Event.EVT15_ABORT_REQUEST)

    def _idle_expired(self) -> None:
        if self.state is State.STA6_ESTABLISHED:
            description = "idle for too long"
        else:
            description = "the peer did not answer in time"
        self.abort(description, is_timeout=True)

    def _take_pdu(self, pdu_type: PduType, pdu: bytes) -> None:
        self._pdu = pdu
        self._expect(_RECEIVED[pdu_type])

    def _expect(self, event: Event) -> None:
        action = TRANSITIONS.get((event, self.state))
        if action in (Action.AA_1, Action.AA_8):
            reason = AbortReason.UNEXPECTED_PDU if action is Action.AA_8 else AbortReason.NOT_SPECIFIED
            source = AbortSource.SERVICE_PROVIDER if action is Action.AA_8 else AbortSource.SERVICE_USER
            self._ending = Ending(f"unexpected PDU ({event.name[5:].lower()})", source, reason)
        self._fire(event)

    def _fire(self, event: Event) -> None:
        action = TRANSITIONS.get((event, self.state))
        # DT-1, DT-2, AR-6, AR-7 and AA-6 have no entry: data passes, or is dropped, where it is sent or read
        act = self._ACTIONS.get(action) if action is not None else None
        if act is not None:
            act(self)

    def _close(self) -> None:
        self._artim.close()
        self._idle.close()
        self.state = State.STA1_IDLE
        self._close_transport()

    def _await_close(self) -> None:
        self.state = State.STA13_AWAITING_CLOSE
        self._idle.close()
        self._artim.start(self._artim_seconds)

    def _report_ending(self) -> None:
        user, self.user = self.user, None
        if user is not None:
            user.ended(self._ending)
        elif self.state is not State.STA13_AWAITING_CLOSE:
            self._negotiator.ended(self._ending)

    def _ae_2(self) -> None:
        self.state = State.STA5_AWAITING_ASSOCIATE_AC_OR_RJ
        self._negotiator.connected()

    def _ae_3(self) -> None:
        self.state = State.STA6_ESTABLISHED
        self._idle.start(self._idle_seconds)
        self._negotiator.associate_confirmation(self._pdu)

    def _ae_4(self) -> None:
        self._close()
        self._negotiator.reject_confirmation(*self._pdu[7:10])

    def _ae_5(self) -> None:
        self.state = State.STA2_AWAITING_ASSOCIATE_RQ
        self._artim.start(self._artim_seconds)
        self._negotiator.connected()

    def _ae_6(self) -> None:
        self._artim.stop()
        self.state = State.STA3_AWAITING_LOCAL_ASSOCIATE_RESPONSE
        self._negotiator.associate_indication(self._pdu)

    def _ae_7(self) -> None:
        self.state = State.STA6_ESTABLISHED
        self._idle.start(self._idle_seconds)
        self._write(self._pdu)

    def _ae_8(self) -> None:
        self._write(self._pdu)
        self._await_close()

    def _ar_1(self) -> None:
        self._write(encode_fixed(PduType.RELEASE_RQ))
        self.state = State.STA7_AWAITING_RELEASE_RP
        self._idle.start(self._artim_seconds)

    def _ar_2(self) -> None:
        self.state = State.STA8_AWAITING_LOCAL_RELEASE_RESPONSE
        if self.user is not None:
            self.user.release_indication()

    def _ar_3(self) -> None:
        user, self.user = self.user, None
        self._close()
        if user is not None:
            user.release_confirmation()

    def _ar_4(self) -> None:
        self.user = None
        self._write(encode_fixed(PduType.RELEASE_RP))
        self._await_close()

    def _ar_8(self) -> None:
        if self._is_requestor:
            self.state = State.STA9_COLLISION_REQUESTOR_AWAITING_LOCAL
            self._fire(Event.EVT14_RELEASE_RESPONSE)
        else:
            self.state = State.STA10_COLLISION_ACCEPTOR_AWAITING_RP

    def _ar_9(self) -> None:
        self._write(encode_fixed(PduType.RELEASE_RP))
        self.state = State.STA11_COLLISION_REQUESTOR_AWAITING_RP

    def _ar_10(self) -> None:
        user, self.user = self.user, None
        self.state = State.STA12_COLLISION_ACCEPTOR_AWAITING_LOCAL
        if user is not None:
            user.release_confirmation()
        self._fire(Event.EVT14_RELEASE_RESPONSE)

    def _aa_1(self) -> None:
        self._write(encode_fixed(PduType.ABORT, 0, self._ending.source or 0, self._ending.reason or 0))
        self._report_ending()
        self._await_close()

    def _aa_2(self) -> None:
        if self.state is State.STA2_AWAITING_ASSOCIATE_RQ:
            self._ending = Ending("no A-ASSOCIATE-RQ came")
            self._report_ending()
        self._artim.close()
        self._idle.close()
        self.state = State.STA1_IDLE
        self._abort_transport()

    def _aa_3(self) -> None:
        source, reason = self._pdu[8:10]
        self._ending = Ending("the peer aborted the association", source, reason)
        self._report_ending()
        self._close()

    def _aa_4(self) -> None:
        self._report_ending()
        self._close()

    def _aa_7(self) -> None:
        self._write(encode_fixed(PduType.ABORT, 0, AbortSource.SERVICE_PROVIDER, AbortReason.UNEXPECTED_PDU))

    def _aa_8(self) -> None:
        source = AbortSource.SERVICE_PROVIDER
        self._write(encode_fixed(PduType.ABORT, 0, source, self._ending.reason or AbortReason.NOT_SPECIFIED))
        self._report_ending()
        self._await_close()

    _ACTIONS: ClassVar[dict[Action, Callable[["Machine"], None]]] = {
        Action.AE_2: _ae_2,
        Action.AE_3: _ae_3,
        Action.AE_4: _ae_4,
        Action.AE_5: _ae_5,
        Action.AE_6: _ae_6,
        Action.AE_7: _ae_7,
        Action.AE_8: _ae_8,
        Action.AR_1: _ar_1,
        Action.AR_2: _ar_2,
        Action.AR_3: _ar_3,
        Action.AR_4: _ar_4,
        Action.AR_5: _close,
        Action.AR_8: _ar_8,
        Action.AR_9: _ar_9,
        Action.AR_10: _ar_10,
        Action.AA_1: _aa_1,
        Action.AA_2: _aa_2,
        Action.AA_3: _aa_3,
        Action.AA_4: _aa_4,
        Action.AA_5: _aa_4,
        Action.AA_7: _aa_7,
        Action.AA_8: _aa_8,
    }
