"""Command sets (PS3.7 6.3, E), held against pynetdicom's own."""

import struct
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filereader import read_dataset
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from support import pdus

from pacslite.dimse import commands
from pacslite.dimse.commands import (
    CommandField,
    InvalidCommandError,
    decode_command,
    encode_command,
    encode_response,
)
from pacslite.model.statuses import SUCCESS, Status, StatusReport


def by_pydicom(data: bytes) -> Dataset:
    return read_dataset(BytesIO(data), is_implicit_VR=True, is_little_endian=True)


def test_request_made_by_pynetdicom_is_understood() -> None:
    primitive = C_STORE()
    primitive.MessageID = 7
    primitive.AffectedSOPClassUID = pdus.CT_IMAGE_STORAGE
    primitive.AffectedSOPInstanceUID = "1.2.3"
    primitive.Priority = 2
    primitive.MoveOriginatorApplicationEntityTitle = "MOVER"
    primitive.MoveOriginatorMessageID = 12
    primitive.DataSet = BytesIO(b"\0\0")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    fragments = [pdv for part in message.encode_msg(1, 16384) for _, pdv in part.presentation_data_value_list]
    command = decode_command(fragments[0][1:])
    assert command.field == CommandField.C_STORE_RQ
    assert (command.message_id, command.has_data_set, command.is_response) == (7, True, False)
    assert (command.sop_class_uid, command.sop_instance_uid) == (pdus.CT_IMAGE_STORAGE, "1.2.3")
    assert command.move_originator_ae_title == "MOVER"
    assert command.move_originator_message_id == 12


def test_response_is_understood_by_pydicom() -> None:
    request = decode_command(pdus.store_rq("1.2.3", 77))
    report = StatusReport(
        Status.FAILURE_C000_CANNOT_UNDERSTAND, "no study", offending_tags=(0x0020_000D, 0x0020_000E)
    )
    data = encode_response(request, report)
    response = by_pydicom(data)
    assert response.CommandGroupLength == len(data) - 12
    assert response.CommandField == CommandField.C_STORE_RSP
    assert response.MessageIDBeingRespondedTo == 77
    assert response.CommandDataSetType == commands.NO_DATA_SET
    assert response.Status == 0xC000
    assert response.ErrorComment == "no study"
    assert response.OffendingElement == [0x0020_000D, 0x0020_000E]
    assert response.AffectedSOPClassUID == pdus.CT_IMAGE_STORAGE
    assert response.AffectedSOPInstanceUID == "1.2.3"
    assert list(response.keys()) == sorted(response.keys())


def test_response_repeats_no_uid_that_the_request_lacks() -> None:
    request = decode_command(
        pdus.command_set([(0x0100, pdus.us(0x30)), (0x0110, pdus.us(1)), (0x0800, pdus.us(0x0101))])
    )
    response = by_pydicom(encode_response(request, SUCCESS))
    assert "AffectedSOPClassUID" not in response
    assert "AffectedSOPInstanceUID" not in response
    assert "ErrorComment" not in response
    assert response.Status == 0


def test_response_may_announce_a_data_set() -> None:
    response = decode_command(encode_response(decode_command(pdus.echo_rq()), SUCCESS, has_data_set=True))
    assert response.has_data_set
    assert response.is_response
    assert response.status == 0
    assert response.message_id_responded_to == 1


def test_requested_sop_class_of_an_n_service_is_its_sop_class() -> None:
    command = decode_command(
        pdus.command_set(
            [(0x0003, b"1.2.3\0"), (0x0100, pdus.us(pdus.N_ACTION_RQ)), (0x0800, pdus.us(pdus.DATA_SET))]
        )
    )
    assert command.sop_class_uid == "1.2.3"


@pytest.mark.parametrize("padding", [b"", b"\0", b" ", b"\0\0"])
def test_uids_are_read_without_padding(padding: bytes) -> None:
    assert decode_command(pdus.store_rq(b"1.2.3" + padding)).sop_instance_uid == "1.2.3"


def test_values_outside_ascii_are_never_taken_for_uids() -> None:
    assert "\N{REPLACEMENT CHARACTER}" in decode_command(pdus.store_rq(b"1.2\xff3")).sop_instance_uid


@pytest.mark.parametrize(
    "elements",
    [
        [],
        [(0x0100, pdus.us(0x30))],
        [(0x0800, pdus.us(0x0101))],
        [(0x0100, b""), (0x0800, pdus.us(0x0101))],
        [(0x0100, b"\x30"), (0x0800, pdus.us(0x0101))],
        [(0x0100, pdus.us(0x30)), (0x0800, b"\1\1\1\1")],
    ],
)
def test_command_set_without_its_essentials_is_refused(elements: list[tuple[int, bytes]]) -> None:
    with pytest.raises(InvalidCommandError):
        decode_command(pdus.command_set(elements))


@pytest.mark.parametrize("cut", range(1, len(pdus.echo_rq())))
def test_command_set_cut_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(InvalidCommandError):
        decode_command(pdus.echo_rq()[:-cut])


def test_element_of_another_group_is_refused() -> None:
    with pytest.raises(InvalidCommandError):
        decode_command(pdus.echo_rq() + struct.pack("<HHI", 8, 5, 0))


@pytest.mark.parametrize("name", ["message_id", "message_id_responded_to", "status"])
def test_number_that_is_not_there_is_an_error_when_asked_for(name: str) -> None:
    command = decode_command(pdus.command_set([(0x0100, pdus.us(0x30)), (0x0800, pdus.us(0x0101))]))
    with pytest.raises(InvalidCommandError):
        getattr(command, name)


def test_optional_elements_are_empty_when_they_are_not_there() -> None:
    command = decode_command(pdus.echo_rq())
    assert command.sop_instance_uid == ""
    assert command.error_comment == ""
    assert command.move_originator_ae_title == ""
    assert command.move_originator_message_id is None


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_set_or_refused(data: bytes) -> None:
    try:
        command = decode_command(data)
    except InvalidCommandError:
        return
    assert isinstance(command.sop_class_uid, str)
    assert isinstance(command.move_originator_ae_title, str)


@settings(deadline=None)
@given(st.dictionaries(st.integers(1, 0xFFFF), st.binary(max_size=20), max_size=8))
def test_what_is_encoded_is_decoded(elements: dict[int, bytes]) -> None:
    elements |= {commands.COMMAND_FIELD: pdus.us(1), commands.COMMAND_DATA_SET_TYPE: pdus.us(0)}
    decoded = decode_command(encode_command(sorted(elements.items())))
    assert {number: decoded._elements[number] for number in elements} == elements


@settings(deadline=None)
@given(st.binary(max_size=100), st.text(max_size=100))
def test_response_to_any_request_is_a_command_set(uid: bytes, comment: str) -> None:
    request = decode_command(pdus.store_rq(uid))
    report = StatusReport(Status.FAILURE_0110_PROCESSING_FAILURE, comment)
    response = decode_command(encode_response(request, report))
    assert response.status == 0x0110
    assert len(response.error_comment) <= 64
