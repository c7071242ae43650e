"""The Upper Layer state machine as data (PS3.8 9.2, Tables 9-5 to 9-10)."""

from enum import Enum, unique
from typing import Final


@unique
class State(Enum):
    """PS3.8 Tables 9-1 to 9-5."""

    STA1_IDLE = "Sta1"
    STA2_AWAITING_ASSOCIATE_RQ = "Sta2"
    STA3_AWAITING_LOCAL_ASSOCIATE_RESPONSE = "Sta3"
    STA4_AWAITING_TRANSPORT = "Sta4"
    STA5_AWAITING_ASSOCIATE_AC_OR_RJ = "Sta5"
    STA6_ESTABLISHED = "Sta6"
    STA7_AWAITING_RELEASE_RP = "Sta7"
    STA8_AWAITING_LOCAL_RELEASE_RESPONSE = "Sta8"
    STA9_COLLISION_REQUESTOR_AWAITING_LOCAL = "Sta9"
    STA10_COLLISION_ACCEPTOR_AWAITING_RP = "Sta10"
    STA11_COLLISION_REQUESTOR_AWAITING_RP = "Sta11"
    STA12_COLLISION_ACCEPTOR_AWAITING_LOCAL = "Sta12"
    STA13_AWAITING_CLOSE = "Sta13"


@unique
class Event(Enum):
    """PS3.8 Table 9-10, first column."""

    EVT1_ASSOCIATE_REQUEST = "Evt1"
    EVT2_TRANSPORT_CONFIRMED = "Evt2"
    EVT3_ASSOCIATE_AC_RECEIVED = "Evt3"
    EVT4_ASSOCIATE_RJ_RECEIVED = "Evt4"
    EVT5_TRANSPORT_INDICATION = "Evt5"
    EVT6_ASSOCIATE_RQ_RECEIVED = "Evt6"
    EVT7_ASSOCIATE_ACCEPT = "Evt7"
    EVT8_ASSOCIATE_REJECT = "Evt8"
    EVT9_P_DATA_REQUEST = "Evt9"
    EVT10_P_DATA_TF_RECEIVED = "Evt10"
    EVT11_RELEASE_REQUEST = "Evt11"
    EVT12_RELEASE_RQ_RECEIVED = "Evt12"
    EVT13_RELEASE_RP_RECEIVED = "Evt13"
    EVT14_RELEASE_RESPONSE = "Evt14"
    EVT15_ABORT_REQUEST = "Evt15"
    EVT16_ABORT_RECEIVED = "Evt16"
    EVT17_TRANSPORT_CLOSED = "Evt17"
    EVT18_ARTIM_EXPIRED = "Evt18"
    EVT19_INVALID_PDU_RECEIVED = "Evt19"


@unique
class Action(Enum):
    """PS3.8 Tables 9-6 to 9-9."""

    AE_1 = "AE-1"
    AE_2 = "AE-2"
    AE_3 = "AE-3"
    AE_4 = "AE-4"
    AE_5 = "AE-5"
    AE_6 = "AE-6"
    AE_7 = "AE-7"
    AE_8 = "AE-8"
    DT_1 = "DT-1"
    DT_2 = "DT-2"
    AR_1 = "AR-1"
    AR_2 = "AR-2"
    AR_3 = "AR-3"
    AR_4 = "AR-4"
    AR_5 = "AR-5"
    AR_6 = "AR-6"
    AR_7 = "AR-7"
    AR_8 = "AR-8"
    AR_9 = "AR-9"
    AR_10 = "AR-10"
    AA_1 = "AA-1"
    AA_2 = "AA-2"
    AA_3 = "AA-3"
    AA_4 = "AA-4"
    AA_5 = "AA-5"
    AA_6 = "AA-6"
    AA_7 = "AA-7"
    AA_8 = "AA-8"


_RECEIVED_PDU_EVENTS = "Evt3 Evt4 Evt6 Evt10 Evt12 Evt13"

_ROWS: Final = {
    "Evt1": "Sta1:AE-1",
    "Evt2": "Sta4:AE-2",
    "Evt3": "Sta5:AE-3",
    "Evt4": "Sta5:AE-4",
    "Evt5": "Sta1:AE-5",
    "Evt6": "Sta2:AE-6 Sta13:AA-7",
    "Evt7": "Sta3:AE-7",
    "Evt8": "Sta3:AE-8",
    "Evt9": "Sta6:DT-1 Sta8:AR-7",
    "Evt10": "Sta6:DT-2 Sta7:AR-6",
    "Evt11": "Sta6:AR-1",
    "Evt12": "Sta6:AR-2 Sta7:AR-8",
    "Evt13": "Sta7:AR-3 Sta10:AR-10 Sta11:AR-3",
    "Evt14": "Sta8:AR-4 Sta9:AR-9 Sta12:AR-4",
    "Evt15": "Sta3:AA-1 Sta4:AA-2 Sta5:AA-1 Sta6:AA-1 Sta7:AA-1 Sta8:AA-1 Sta9:AA-1 Sta10:AA-1 Sta11:AA-1 "
    "Sta12:AA-1",
    "Evt16": "Sta2:AA-2 Sta3:AA-3 Sta5:AA-3 Sta6:AA-3 Sta7:AA-3 Sta8:AA-3 Sta9:AA-3 Sta10:AA-3 Sta11:AA-3 "
    "Sta12:AA-3 Sta13:AA-2",
    "Evt17": "Sta2:AA-5 Sta3:AA-4 Sta4:AA-4 Sta5:AA-4 Sta6:AA-4 Sta7:AA-4 Sta8:AA-4 Sta9:AA-4 Sta10:AA-4 "
    "Sta11:AA-4 Sta12:AA-4 Sta13:AR-5",
    "Evt18": "Sta2:AA-2 Sta13:AA-2",
    "Evt19": "Sta13:AA-7",
}
"""What the standard's table says apart from its rule for PDUs that come at the wrong time."""

_WRONG_TIME: Final = {
    "Sta2": "AA-1",
    **dict.fromkeys(("Sta3", "Sta5", "Sta6", "Sta7", "Sta8", "Sta9", "Sta10", "Sta11", "Sta12"), "AA-8"),
    "Sta13": "AA-6",
}
"""A PDU that a state does not expect: abort as user, abort as provider, or ignore (PS3.8 Table 9-10)."""


def _transitions() -> dict[tuple[Event, State], Action]:
    table = {
        (Event(event), State(state)): Action(action)
        for event in [*_RECEIVED_PDU_EVENTS.split(), "Evt19"]
        for state, action in _WRONG_TIME.items()
    }
    for event, row in _ROWS.items():
        for cell in row.split():
            state, action = cell.split(":")
            table[Event(event), State(state)] = Action(action)
    return table


TRANSITIONS: Final = _transitions()
"""Which action an event takes in a state; a pair that is not here cannot occur (PS3.8 Table 9-10)."""
