"""What an association is agreed to be (PS3.8 9.3.2, 9.3.3, D.1, PS3.7 D.3.3).

Cases A6 to A10 and A15 to A18 of dimse-behaviour.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.presentation import PresentationContext
from support import pdus
from support.nodes import RunningNode, running_node
from support.scripted_peer import ScriptedPeer

from pacslite.model.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from pacslite.settings.schema import ArchiveSettings, Settings
from pacslite.upperlayer.entity import ApplicationEntity
from pacslite.upperlayer.negotiation import (
    SEND_PDU_LIMIT_BYTES,
    AssociateProposal,
    AssociateRequest,
    NegotiationError,
    ProposedContext,
)
from pacslite.upperlayer.offers import AcceptorRules
from pacslite.upperlayer.pdu import p_data_pdus
from pacslite.upperlayer.syntaxes import STORAGE_SOP_CLASSES

ACCEPTANCE, ABSTRACT_SYNTAX_NOT_SUPPORTED, TRANSFER_SYNTAXES_NOT_SUPPORTED = 0, 3, 4
PRIVATE_SYNTAX = "1.2.840.113619.5.2"
OVERLONG = "1." * 40 + "1"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture(autouse=True)
def _healthy(node: RunningNode) -> Iterator[None]:
    with node.healthy():
        yield


@pytest.fixture
def peer(node: RunningNode) -> Iterator[ScriptedPeer]:
    with ScriptedPeer.connect(node.address) as connected:
        yield connected


def check_usable(peer: ScriptedPeer) -> None:
    assert peer.echo().status == 0
    peer.release()


def test_a6_association_without_an_accepted_context_is_accepted(peer: ScriptedPeer) -> None:
    answer = peer.associate(
        [pdus.context(1, "1.2.3.4", pdus.IMPLICIT), pdus.context(3, pdus.CT_IMAGE_STORAGE, "1.2.3.4")]
    )
    assert answer.results == {1: ABSTRACT_SYNTAX_NOT_SUPPORTED, 3: TRANSFER_SYNTAXES_NOT_SUPPORTED}
    peer.release()


def test_a6_association_that_proposes_no_context_is_accepted(peer: ScriptedPeer) -> None:
    assert peer.associate([]).results == {}
    peer.release()


def test_a7_each_context_keeps_its_transfer_syntax(node: RunningNode, peer: ScriptedPeer) -> None:
    syntaxes = {1: pdus.IMPLICIT, 5: pdus.EXPLICIT, 9: pdus.BIG_ENDIAN}
    answer = peer.associate(
        [pdus.context(number, pdus.CT_IMAGE_STORAGE, uid) for number, uid in syntaxes.items()]
    )
    assert answer.transfer_syntaxes == syntaxes
    peer.send(pdus.store_pdus("1.2.7.1", pdus.ct_data_set("1.2.7.1"), context_id=5))
    response = peer.expect_response()
    assert (response.status, response.context_id) == (0, 5)
    kept = node.node.archives["main"].reader.instance("1.2.7.1")
    assert kept is not None
    assert kept.key.transfer_syntax_uid == pdus.EXPLICIT


def test_a7_answers_come_on_the_context_of_their_requests(peer: ScriptedPeer) -> None:
    peer.associate([pdus.context(number, pdus.VERIFICATION) for number in (1, 129, 255)])
    for context_id in (255, 1, 129):
        peer.send(pdus.echo_pdu(context_id))
        assert peer.expect_response().context_id == context_id


def test_a7_one_transfer_syntax_of_those_proposed_is_taken(peer: ScriptedPeer) -> None:
    proposal = pdus.context(1, pdus.CT_IMAGE_STORAGE, "1.2.3", pdus.BIG_ENDIAN, pdus.IMPLICIT, pdus.EXPLICIT)
    assert peer.associate([proposal]).transfer_syntaxes == {1: pdus.EXPLICIT}


def test_a8_all_128_contexts_may_be_accepted(peer: ScriptedPeer) -> None:
    contexts = [pdus.context(number, pdus.CT_IMAGE_STORAGE, pdus.EXPLICIT) for number in range(1, 256, 2)]
    answer = peer.associate(contexts)
    assert len(answer.results) == 128
    assert set(answer.results.values()) == {ACCEPTANCE}


def propose(count: int) -> AssociateProposal:
    return AssociateProposal(
        calling_ae_title="US",
        called_ae_title="THEM",
        contexts=[ProposedContext(pdus.VERIFICATION, (pdus.IMPLICIT,))] * count,
        max_pdu_bytes=16384,
    )


def test_a8_our_own_proposal_numbers_128_contexts_and_not_one_more() -> None:
    proposal = propose(128)
    assert AssociateRequest(proposal.encode()).calling_ae_title == "US"
    answer = pdus.associate_ac([(number, 0, pdus.IMPLICIT) for number in range(1, 256, 2)])
    assert list(proposal.read_answer(answer).contexts) == list(range(1, 256, 2))
    with pytest.raises(ValueError, match="context_id"):
        propose(129)


def test_a9_peer_without_a_limit_is_sent_bounded_pdus(peer: ScriptedPeer) -> None:
    peer.associate(user_items=pdus.max_length(0) + pdus.implementation())
    check_usable(peer)
    terms = propose(1).read_answer(
        pdus.associate_ac([(1, 0, pdus.IMPLICIT)], user_items=pdus.max_length(0) + pdus.implementation())
    )
    assert terms.send_pdu_bytes == SEND_PDU_LIMIT_BYTES


@pytest.mark.parametrize("length", [12, 13, 128, 16384, 131_072, 131_073, 0xFFFF_FFFF])
def test_a9_no_pdu_is_longer_than_the_peer_or_we_allow(length: int) -> None:
    answer = pdus.associate_ac([(1, 0, pdus.IMPLICIT)], user_items=pdus.max_length(length))
    limit = propose(1).read_answer(answer).send_pdu_bytes
    assert limit == min(length - length % 2, SEND_PDU_LIMIT_BYTES)
    sent = list(p_data_pdus(1, bytes(1000), is_command=False, max_pdu_bytes=limit))
    assert all(len(pdu) - 6 <= limit for pdu in sent)
    assert all(len(pdu) % 2 == 0 for pdu in sent)
    assert sum(len(pdu) - 12 for pdu in sent) == 1000


@pytest.mark.parametrize("length", range(1, 12))
def test_a10_maximum_length_too_small_for_data_is_aborted(node: RunningNode, length: int) -> None:
    with ScriptedPeer.connect(node.address) as peer:
        peer.send(pdus.associate_rq(user_items=pdus.max_length(length) + pdus.implementation()))
        peer.expect_abort(2, 6)
    with pytest.raises(NegotiationError):
        propose(1).read_answer(pdus.associate_ac([(1, 0, pdus.IMPLICIT)], user_items=pdus.max_length(length)))


def test_a10_least_usable_maximum_length_is_kept_to(peer: ScriptedPeer) -> None:
    peer.associate(user_items=pdus.max_length(12) + pdus.implementation())
    peer.send(pdus.echo_pdu())
    command, is_complete = b"", False
    while not is_complete:
        body = peer.expect(pdus.P_DATA)
        assert len(body) <= 12
        length, context_id, control = struct.unpack_from(">IBB", body)
        assert (length, context_id, control & pdus.COMMAND) == (len(body) - 4, 1, pdus.COMMAND)
        command += body[6:]
        is_complete = bool(control & pdus.LAST)
    assert struct.pack("<HHIH", 0, 0x0900, 2, 0) in command


@pytest.mark.parametrize("padding", ["\0", "\0\0", " ", " \0"])
def test_a15_padded_uids_are_understood(peer: ScriptedPeer, padding: str) -> None:
    answer = peer.associate(
        [pdus.context(1, pdus.VERIFICATION + padding, pdus.IMPLICIT + padding)],
        application_context=pdus.APPLICATION_CONTEXT + padding,
    )
    assert answer.results == {1: ACCEPTANCE}
    assert answer.transfer_syntaxes == {1: pdus.IMPLICIT}
    check_usable(peer)


@pytest.mark.parametrize("uid", [OVERLONG, "1.02.003", "", b"\xff\xfe1.2", "hello", "..", b"1.2\0\0003"])
def test_a15_what_is_no_uid_costs_its_context_and_not_the_association(
    peer: ScriptedPeer, uid: str | bytes
) -> None:
    answer = peer.associate(
        [
            pdus.VERIFICATION_CONTEXT,
            pdus.context(3, uid),
            pdus.context(5, pdus.CT_IMAGE_STORAGE, uid),
            pdus.context(7, pdus.CT_IMAGE_STORAGE, uid, pdus.EXPLICIT),
        ]
    )
    assert answer.results == {1: 0, 3: 3, 5: 4, 7: 0}
    check_usable(peer)


@pytest.mark.parametrize("uid", [OVERLONG, "1.02.003", "", b"\xff\xfe1.2", "1.2.3\0"])
def test_a15_implementation_class_uid_may_be_anything(peer: ScriptedPeer, uid: str | bytes) -> None:
    peer.associate(user_items=pdus.max_length(16384) + pdus.implementation(uid))
    check_usable(peer)


@pytest.mark.parametrize("version", [b"", b"A" * 40, b"\xff\xe9", b"  SPACED  "])
def test_a15_implementation_version_name_may_be_anything(peer: ScriptedPeer, version: bytes) -> None:
    peer.associate(user_items=pdus.max_length(16384) + pdus.implementation(version=version))
    check_usable(peer)


@pytest.mark.parametrize(
    "user_items",
    [
        b"",
        pdus.max_length(16384),
        pdus.implementation(),
        pdus.max_length(16384) + pdus.item(0x60, b"what the standard may say one day"),
        pdus.max_length(16384) + pdus.item(0x56, b"\0\x01" + b"1" + b"\1\1"),
        pdus.max_length(16384) + pdus.item(0x57, b""),
        pdus.max_length(16384) + pdus.user_identity(1, b"someone"),
        pdus.max_length(16384) + pdus.user_identity(2, b"someone", b"secret", wants_response=True),
        pdus.max_length(16384) + pdus.user_identity(9, b""),
    ],
)
def test_user_information_that_we_do_not_use_is_skipped(peer: ScriptedPeer, user_items: bytes) -> None:
    peer.associate(user_items=user_items)
    check_usable(peer)


def test_unrecognized_items_are_skipped(peer: ScriptedPeer) -> None:
    unknown = pdus.item(0x77, b"skipped")
    within = pdus.item(
        0x20,
        bytes((3, 0, 0, 0))
        + unknown
        + pdus.item(0x30, pdus.CT_IMAGE_STORAGE.encode())
        + pdus.item(0x40, pdus.EXPLICIT.encode()),
    )
    answer = peer.associate([unknown, pdus.VERIFICATION_CONTEXT, within, unknown])
    assert answer.results == {1: 0, 3: 0}
    check_usable(peer)


def test_context_without_transfer_syntaxes_is_rejected(peer: ScriptedPeer) -> None:
    bare = pdus.item(0x20, bytes((3, 0, 0, 0)) + pdus.item(0x30, pdus.CT_IMAGE_STORAGE.encode()))
    assert peer.associate([pdus.VERIFICATION_CONTEXT, bare]).results == {1: 0, 3: 4}
    check_usable(peer)


@pytest.mark.parametrize(
    "role",
    [
        pdus.role(pdus.CT_IMAGE_STORAGE, scu=0, scp=1),
        pdus.role(pdus.CT_IMAGE_STORAGE, scu=1, scp=1) + pdus.role(pdus.VERIFICATION, scu=1, scp=0),
        pdus.role(pdus.CT_IMAGE_STORAGE, scu=0, scp=0),
        pdus.role("1.2.3.4", scu=0, scp=1),
        pdus.role(pdus.CT_IMAGE_STORAGE, scu=7, scp=9),
        pdus.item(0x54, b"\0"),
        pdus.item(0x54, b"\xff\xff1.2"),
    ],
)
def test_a16_role_selection_does_not_keep_a_requestor_out(peer: ScriptedPeer, role: bytes) -> None:
    answer = peer.associate(user_items=pdus.max_length(16384) + pdus.implementation() + role)
    assert answer.results == {1: 0, 3: 0}
    check_usable(peer)


@pytest.mark.parametrize("private", [[], [PRIVATE_SYNTAX]])
def test_a16_roles_that_a_ready_ae_takes_are_agreed(private: list[str]) -> None:
    ae = AE("OURS")
    ae.add_supported_context(pdus.CT_IMAGE_STORAGE, pdus.EXPLICIT, scu_role=True, scp_role=True)
    role = pdus.role(pdus.CT_IMAGE_STORAGE, scu=0, scp=1)
    request = AssociateRequest(
        pdus.associate_rq(
            contexts=[pdus.context(1, pdus.CT_IMAGE_STORAGE, pdus.EXPLICIT)],
            user_items=pdus.max_length(16384) + pdus.implementation() + role,
        )
    )
    rules = AcceptorRules(private_transfer_syntaxes=private)
    terms, answer = request.accept(ApplicationEntity(ae), rules)
    assert (terms.contexts[1].as_scu, terms.contexts[1].as_scp) == (True, False)
    assert role in answer


@pytest.mark.parametrize(
    "rules",
    [AcceptorRules(accept_unknown_sop_classes=True), AcceptorRules(private_transfer_syntaxes=["1.2.3"])],
)
def test_pynetdicom_checks_few_syntaxes_for_many_contexts(
    monkeypatch: pytest.MonkeyPatch, rules: AcceptorRules
) -> None:
    unknown = [f"1.2.3.{number}" for number in range(128)]
    classes = unknown if rules.accept_unknown_sop_classes else STORAGE_SOP_CLASSES[:128]
    contexts = [pdus.context(2 * number + 1, uid, pdus.EXPLICIT) for number, uid in enumerate(classes)]
    entity = ApplicationEntity.from_settings(Settings())
    request = AssociateRequest(pdus.associate_rq(contexts=contexts))
    checked = []
    add = PresentationContext.add_transfer_syntax

    def count(context: PresentationContext, syntax: str) -> None:
        checked.append(syntax)
        add(context, syntax)

    monkeypatch.setattr(PresentationContext, "add_transfer_syntax", count)
    terms, _ = request.accept(entity, rules)
    assert len(terms.contexts) == 128
    # it takes some ten microseconds for each, in the event loop
    assert len(checked) <= 4 * 128


def test_a17_our_implementation_is_always_named(peer: ScriptedPeer) -> None:
    answer = peer.associate()
    assert answer.user_items[0x52] == [IMPLEMENTATION_CLASS_UID.encode()]
    assert answer.user_items[0x55] == [IMPLEMENTATION_VERSION_NAME.encode()]
    assert len(IMPLEMENTATION_VERSION_NAME) <= 16


def test_a17_our_proposal_names_our_implementation_too() -> None:
    encoded = propose(1).encode()
    assert pdus.item(0x52, IMPLEMENTATION_CLASS_UID.encode()) in encoded
    assert pdus.item(0x55, IMPLEMENTATION_VERSION_NAME.encode()) in encoded


@pytest.mark.parametrize("window", [(0, 0), (1, 1), (8, 8), (0xFFFF, 0xFFFF)])
def test_a18_asynchronous_operations_are_not_agreed_to(peer: ScriptedPeer, window: tuple[int, int]) -> None:
    items = pdus.max_length(16384) + pdus.implementation() + pdus.async_window(*window)
    assert 0x53 not in peer.associate(user_items=items).user_items
    check_usable(peer)


def test_fields_that_are_only_repeated_are_repeated_as_they_came(peer: ScriptedPeer) -> None:
    answer = peer.associate(calling=b" ODD \0\0", called=b"WHOEVER\0")
    assert answer.body[4:20] == pdus.ae(b"WHOEVER\0")
    assert answer.body[20:36] == pdus.ae(b" ODD \0\0")


def test_announced_maximum_length_is_the_one_of_the_settings(node: RunningNode, peer: ScriptedPeer) -> None:
    assert peer.associate().max_length == node.settings.association.max_pdu_bytes


@pytest.mark.parametrize(
    "contexts",
    [
        [pdus.context(2, pdus.VERIFICATION)],
        [pdus.context(0, pdus.VERIFICATION)],
        [pdus.context(1, pdus.VERIFICATION), pdus.context(1, pdus.CT_IMAGE_STORAGE)],
        [pdus.context(number % 256, pdus.VERIFICATION) for number in range(1, 260, 2)],
        [pdus.context(number, pdus.VERIFICATION) for number in range(256)],
        [pdus.item(0x20, b"\1\0")],
        [pdus.item(0x20, bytes((1, 0, 0, 0)) + pdus.item(0x30, b"1.2", length=60000))],
        [pdus.item(0x20, b"", length=9)],
        [b"\x20"],
    ],
    ids=["even", "zero", "twice", "130", "256", "short", "overlong-sub-item", "overlong-item", "header"],
)
def test_contexts_that_cannot_be_answered_are_aborted(peer: ScriptedPeer, contexts: list[bytes]) -> None:
    peer.send(pdus.associate_rq(contexts))
    peer.expect_abort(2, 6)


def test_unknown_sop_classes_and_private_syntaxes_are_taken_by_choice(tmp_path: Path) -> None:
    archive = ArchiveSettings(accept_unknown_sop_classes=True, private_transfer_syntaxes=[PRIVATE_SYNTAX])
    contexts = [
        pdus.context(1, "1.2.3.4", pdus.IMPLICIT),
        pdus.context(3, pdus.CT_IMAGE_STORAGE, PRIVATE_SYNTAX),
        pdus.context(5, "1.2.3.4", PRIVATE_SYNTAX),
        pdus.context(7, "1.2.840.10008.5.1.4.31", pdus.IMPLICIT),
        pdus.context(9, OVERLONG, pdus.IMPLICIT),
        pdus.context(11, pdus.VERIFICATION, PRIVATE_SYNTAX),
    ]
    with running_node(tmp_path, archives=[archive]) as node, ScriptedPeer.connect(node.address) as peer:
        assert peer.associate(contexts).results == {1: 0, 3: 0, 5: 0, 7: 3, 9: 3, 11: 4}


@pytest.mark.parametrize(
    "answer",
    [
        pdus.associate_ac([(3, 0, pdus.IMPLICIT)]),
        pdus.associate_ac([(2, 0, pdus.IMPLICIT)]),
        pdus.associate_ac([(1, 0, pdus.EXPLICIT)]),
        pdus.associate_ac([(1, 0, OVERLONG)]),
        pdus.associate_ac([(1, 77, pdus.IMPLICIT)]),
        pdus.associate_ac([(1, 4, "")]),
        pdus.associate_ac([]),
        pdus.associate_ac([], user_items=b""),
    ],
)
def test_answers_that_accept_nothing_we_proposed_give_no_context(answer: bytes) -> None:
    assert propose(1).read_answer(answer).contexts == {}
