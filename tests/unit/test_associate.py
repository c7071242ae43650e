"""A-ASSOCIATE PDUs, held against pynetdicom's own (PS3.8 9.3.2, 9.3.3)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from support import pdus

from pacslite.model.uids import APPLICATION_CONTEXT_UID
from pacslite.upperlayer.associate import ContextItem, MalformedAssociateError, decode_associate

USER = pdus.max_length(16384) + pdus.implementation() + pdus.role(pdus.CT_IMAGE_STORAGE, scu=0, scp=1)


def test_request_is_read_as_pynetdicom_reads_it() -> None:
    request = pdus.associate_rq(
        [pdus.VERIFICATION_CONTEXT, pdus.context(7, pdus.CT_IMAGE_STORAGE, pdus.EXPLICIT, pdus.IMPLICIT)],
        user_items=USER,
    )
    ours = decode_associate(request)
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(request)
    primitive = theirs.to_primitive()
    assert ours.calling_ae_title == primitive.calling_ae_title.strip()
    assert ours.called_ae_title == primitive.called_ae_title.strip()
    assert ours.application_context == primitive.application_context_name == APPLICATION_CONTEXT_UID
    assert ours.contexts == tuple(
        ContextItem(context.context_id or 0, 0, str(context.abstract_syntax), tuple(context.transfer_syntax))
        for context in primitive.presentation_context_definition_list
    )
    assert ours.user.max_pdu_bytes == primitive.maximum_length_received
    assert ours.user.implementation_class_uid == primitive.implementation_class_uid
    assert ours.user.implementation_version_name == "SCRIPTED"
    roles = [
        item for item in primitive.user_information if isinstance(item, SCP_SCU_RoleSelectionNegotiation)
    ]
    assert ours.user.roles == {str(role.sop_class_uid): (role.scu_role, role.scp_role) for role in roles}


def test_answer_is_read() -> None:
    answer = decode_associate(pdus.associate_ac([(1, 0, pdus.IMPLICIT), (3, 4, "")], user_items=USER))
    assert answer.contexts == (ContextItem(1, 0, "", (pdus.IMPLICIT,)), ContextItem(3, 4, "", ("",)))
    assert answer.user.roles == {pdus.CT_IMAGE_STORAGE: (False, True)}


def test_transfer_syntax_that_is_proposed_twice_counts_once() -> None:
    request = pdus.associate_rq([pdus.context(1, "1.2", "1.3", "1.4", "1.3\0")])
    assert decode_associate(request).contexts[0].transfer_syntaxes == ("1.3", "1.4")


@pytest.mark.parametrize("cut", range(1, len(pdus.associate_rq())))
def test_pdu_cut_anywhere_is_read_as_far_as_it_goes_or_refused(cut: int) -> None:
    try:
        decoded = decode_associate(pdus.associate_rq()[:-cut])
    except MalformedAssociateError:
        return
    assert decoded.calling_ae_title == "SCRIPTED"


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", pdus.associate_rq()[:74]]))
def test_any_bytes_are_read_or_refused(data: bytes, beginning: bytes) -> None:
    try:
        decoded = decode_associate(beginning + data)
    except MalformedAssociateError:
        return
    assert len(decoded.titles) == 64
    assert decoded.calling_ae_title.isascii()


@settings(deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_any_change_of_a_request_is_read_or_refused(place: int, change: bytes) -> None:
    request = pdus.associate_rq(user_items=USER)
    changed = request[:place] + change + request[place + len(change) :]
    try:
        decoded = decode_associate(changed)
    except MalformedAssociateError:
        return
    assert decoded.titles == changed[10:74]
