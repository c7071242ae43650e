"""PDUs from a byte stream, however it is cut (PS3.8 9.3)."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import pdus

from pacslite.upperlayer.pdu import (
    FIXED_BODY_BYTES,
    MAX_ASSOCIATE_BYTES,
    STEPS_PER_TURN,
    AbortReason,
    InvalidPduError,
    PduReader,
    PduType,
    encode_fixed,
    p_data_pdus,
)

MAX_PDU_BYTES = 4096

Finding = tuple[object, ...]


class Findings(list[Finding]):
    """What a reader found; pieces of one PDV are put together."""

    def p_data_started(self) -> None:
        self.append(("p-data",))

    def fragment_received(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
        data = bytes(piece)
        if self and self[-1][0] == "pdv" and not self[-1][4]:
            _, same_context, same_control, before, _ = self.pop()
            assert (same_context, same_control) == (context_id, control)
            assert isinstance(before, bytes)
            data = before + data
        self.append(("pdv", context_id, control, data, is_whole))

    def pdu_received(self, pdu_type: PduType, pdu: bytes) -> None:
        self.append((pdu_type, pdu))


def read(*parts: bytes) -> Findings:
    """Return what is found in `parts`, fed one after the other."""
    findings = Findings()
    reader = PduReader(findings, MAX_PDU_BYTES)
    for part in parts:
        rest = memoryview(part)
        while rest:
            taken = reader.feed(rest)
            assert taken
            rest = rest[taken:]
    return findings


def pdvs() -> st.SearchStrategy[list[bytes]]:
    one = st.builds(pdus.pdv, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=40))
    return st.lists(one, max_size=6)


def streams() -> st.SearchStrategy[bytes]:
    associate = st.builds(
        pdus.pdu,
        st.sampled_from([pdus.ASSOCIATE_RQ, pdus.ASSOCIATE_AC]),
        st.binary(min_size=FIXED_BODY_BYTES, max_size=200),
    )
    fixed = st.builds(
        pdus.pdu,
        st.sampled_from([pdus.ASSOCIATE_RJ, pdus.RELEASE_RQ, pdus.RELEASE_RP, pdus.ABORT]),
        st.binary(min_size=FIXED_BODY_BYTES, max_size=FIXED_BODY_BYTES),
    )
    data = st.builds(lambda items: pdus.p_data(*items), pdvs())
    return st.lists(st.one_of(associate, fixed, data), max_size=6).map(b"".join)


@settings(deadline=None)
@given(streams(), st.data())
def test_stream_gives_the_same_findings_however_it_is_cut(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *cuts, len(stream)]
    parts = [stream[start:stop] for start, stop in pairwise(edges)]
    assert read(*parts) == read(stream)


@settings(deadline=None)
@given(streams())
def test_stream_may_come_byte_by_byte(stream: bytes) -> None:
    assert read(*(bytes((value,)) for value in stream)) == read(stream)


def test_findings_are_the_pdus_of_the_stream() -> None:
    association = pdus.associate_rq()
    fragments = [pdus.pdv(1, 3, b"command"), pdus.pdv(1, 0, b""), pdus.pdv(3, 2, b"data")]
    assert read(association + pdus.p_data(*fragments) + pdus.release_rq()) == [
        (PduType.ASSOCIATE_RQ, association),
        ("p-data",),
        ("pdv", 1, 3, b"command", True),
        ("pdv", 1, 0, b"", True),
        ("pdv", 3, 2, b"data", True),
        (PduType.RELEASE_RQ, pdus.release_rq()),
    ]


def test_pieces_are_passed_on_before_their_pdv_is_whole() -> None:
    stream = pdus.p_data(pdus.pdv(1, 0, bytes(100)))
    assert read(stream[:62])[-1] == ("pdv", 1, 0, bytes(50), False)


def test_data_is_not_copied() -> None:
    class Addresses(Findings):
        def fragment_received(
            self, context_id: int, control: int, piece: memoryview, *, is_whole: bool
        ) -> None:
            assert piece.obj is stream
            super().fragment_received(context_id, control, piece, is_whole=is_whole)

    stream = pdus.p_data(pdus.pdv(1, 0, b"data"))
    findings = Addresses()
    PduReader(findings, MAX_PDU_BYTES).feed(memoryview(stream))
    assert len(findings) == 2


def test_turn_ends_when_its_budget_is_spent() -> None:
    stream = pdus.p_data(*[pdus.pdv(1, 0, b"x")] * 500) * 5
    findings = Findings()
    taken = PduReader(findings, MAX_PDU_BYTES).feed(memoryview(stream))
    assert taken < len(stream)
    assert len(findings) <= STEPS_PER_TURN
    assert len(read(stream)) == 5 * 501


@pytest.mark.parametrize("kind", [0, *range(8, 256)])
def test_unknown_type_is_refused_at_its_first_byte(kind: int) -> None:
    with pytest.raises(InvalidPduError) as caught:
        read(bytes((kind,)))
    assert caught.value.reason is AbortReason.UNRECOGNIZED_PDU


@pytest.mark.parametrize(
    ("kind", "longest"),
    [
        (pdus.ASSOCIATE_RQ, MAX_ASSOCIATE_BYTES),
        (pdus.ASSOCIATE_AC, MAX_ASSOCIATE_BYTES),
        (pdus.ASSOCIATE_RJ, FIXED_BODY_BYTES),
        (pdus.P_DATA, MAX_PDU_BYTES),
        (pdus.RELEASE_RQ, FIXED_BODY_BYTES),
        (pdus.RELEASE_RP, FIXED_BODY_BYTES),
        (pdus.ABORT, FIXED_BODY_BYTES),
    ],
)
def test_length_over_the_limit_is_refused_before_a_byte_of_it_comes(kind: int, longest: int) -> None:
    read(pdus.pdu(kind, b"", length=longest))
    for length in (longest + 1, 0x7FFF_FFFF, 0xFFFF_FFFF):
        with pytest.raises(InvalidPduError) as caught:
            read(pdus.pdu(kind, b"", length=length))
        assert caught.value.is_over_limit
        assert caught.value.reason is AbortReason.INVALID_PARAMETER_VALUE


@pytest.mark.parametrize("kind", [kind for kind in range(1, 8) if kind != pdus.P_DATA])
@pytest.mark.parametrize("length", range(FIXED_BODY_BYTES))
def test_length_too_short_for_its_type_is_refused(kind: int, length: int) -> None:
    with pytest.raises(InvalidPduError) as caught:
        read(pdus.pdu(kind, b"", length=length))
    assert not caught.value.is_over_limit


@pytest.mark.parametrize("length", [0, 1, 7, 100, 0x8000_0000, 0xFFFF_FFFF])
def test_pdv_length_that_does_not_fit_is_refused(length: int) -> None:
    with pytest.raises(InvalidPduError):
        read(pdus.p_data(pdus.pdv(1, 0, b"data", length=length)))


@pytest.mark.parametrize("room", range(1, 6))
def test_pdu_without_room_for_its_pdv_header_is_refused(room: int) -> None:
    with pytest.raises(InvalidPduError):
        read(pdus.pdu(pdus.P_DATA, pdus.pdv(1, 0, b"data")[:room]) + pdus.release_rq())


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read(data)
    except InvalidPduError as error:
        assert error.reason in AbortReason  # noqa: PT017 - either outcome is right


@settings(deadline=None)
@given(message=st.binary(max_size=2000), length=st.integers(7, 3000), is_command=st.booleans())
def test_message_is_cut_into_pdus_that_give_it_back(*, message: bytes, length: int, is_command: bool) -> None:
    sent = list(p_data_pdus(5, message, is_command=is_command, max_pdu_bytes=length))
    assert all(len(pdu) - 6 <= length for pdu in sent)
    found = [finding for finding in read(*sent) if finding[0] == "pdv"]
    assert b"".join(finding[3] for finding in found if isinstance(finding[3], bytes)) == message
    controls = [finding[2] for finding in found]
    kind = pdus.COMMAND if is_command else 0
    assert controls == [kind] * (len(found) - 1) + [kind | pdus.LAST]


def test_fixed_pdus_are_encoded_as_by_hand() -> None:
    assert encode_fixed(PduType.RELEASE_RQ) == pdus.release_rq()
    assert encode_fixed(PduType.ABORT, 0, 2, 6) == pdus.abort(2, 6)
    assert encode_fixed(PduType.ASSOCIATE_RJ, 1, 2, 3) == pdus.associate_rj(1, 2, 3)
