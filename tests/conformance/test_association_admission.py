"""Who is let in, where, and how many (PS3.8 9.3.4; dimse-behaviour A1 to A5)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE
from support import pdus
from support.instances import make_instance
from support.nodes import RunningNode, node_settings, running_node
from support.raw_sender import RawSender, syntax_of
from support.scripted_peer import ScriptedPeer

from pacslite.settings.schema import (
    AdmissionSettings,
    ArchiveSettings,
    AssociationSettings,
    Listener,
    PeerSettings,
)

CALLING_NOT_RECOGNIZED = (1, 1, 3)
CALLED_NOT_RECOGNIZED = (1, 1, 7)
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)

PEERS = [
    PeerSettings(name="ct", ae_title="CT1", host="127.0.0.1"),
    PeerSettings(name="mr", ae_title="MR1", host="192.0.2.1", addresses=["127.0.0.8/30"]),
    PeerSettings(name="honest", ae_title="HONEST", host="127.0.0.1"),
]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """Return a node that knows its peers and its names."""
    archives = [ArchiveSettings(name="main"), ArchiveSettings(name="research", ae_titles=["RESEARCH"])]
    with running_node(tmp_path_factory.mktemp("strict"), peers=PEERS, archives=archives) as node:
        yield node


@pytest.fixture(autouse=True)
def _healthy(request: pytest.FixtureRequest) -> Iterator[None]:
    if "strict" not in request.fixturenames:
        yield
        return
    with request.getfixturevalue("strict").healthy():
        yield


def expect_rejection(node: RunningNode, why: tuple[int, int, int], *, source: str = "", **rq: Any) -> None:
    with ScriptedPeer.connect(node.address, source=source) as peer:
        peer.send(pdus.associate_rq(**rq))
        peer.expect_reject(*why)


def expect_acceptance(node: RunningNode, *, source: str = "", **rq: Any) -> None:
    with ScriptedPeer.connect(node.address, source=source) as peer:
        peer.associate(**rq)
        assert peer.echo().status == 0
        peer.release()


def test_a1_unknown_calling_ae_title_is_rejected(strict: RunningNode) -> None:
    expect_rejection(strict, CALLING_NOT_RECOGNIZED, calling="STRANGER")


def test_a1_known_calling_ae_title_is_accepted(strict: RunningNode) -> None:
    expect_acceptance(strict, calling="CT1")


def test_a1_known_title_from_a_wrong_address_is_rejected(strict: RunningNode) -> None:
    expect_rejection(strict, CALLING_NOT_RECOGNIZED, calling="CT1", source="127.0.0.9")


def test_a1_title_from_a_listed_block_of_addresses_is_accepted(strict: RunningNode) -> None:
    expect_acceptance(strict, calling="MR1", source="127.0.0.9")
    expect_rejection(strict, CALLING_NOT_RECOGNIZED, calling="MR1", source="127.0.0.12")


@pytest.mark.parametrize("title", [b"", b"CT\n1", b"CT\\1", b"CT\xc4"])
def test_a1_what_is_no_ae_title_is_rejected_even_where_strangers_are_welcome(
    title: bytes, tmp_path: Path
) -> None:
    with running_node(tmp_path) as node:
        expect_rejection(node, CALLING_NOT_RECOGNIZED, calling=title)


def test_a2_wrong_called_ae_title_is_rejected_by_a_strict_node(strict: RunningNode) -> None:
    expect_rejection(strict, CALLED_NOT_RECOGNIZED, calling="CT1", called="ANY-SCP")


def test_a2_each_archive_answers_to_its_title(strict: RunningNode) -> None:
    expect_acceptance(strict, calling="CT1", called="RESEARCH")
    expect_acceptance(strict, calling="CT1", called="PACSLITE")


def test_a2_any_called_ae_title_reaches_the_default_archive_of_a_loopback_node(tmp_path: Path) -> None:
    with running_node(tmp_path) as node, ScriptedPeer.connect(node.address) as peer:
        peer.associate(called="ANY-SCP")
        peer.send(pdus.store_pdus("1.2.3", pdus.ct_data_set("1.2.3")))
        assert peer.expect_response().status == 0
        assert len(node.stored_paths()) == 1


def test_a2_instances_go_to_the_archive_that_is_called(strict: RunningNode) -> None:
    with ScriptedPeer.connect(strict.address) as peer:
        peer.associate(calling="CT1", called="RESEARCH")
        peer.send(pdus.store_pdus("1.2.3.1", pdus.ct_data_set("1.2.3.1")))
        assert peer.expect_response().status == 0
        peer.release()
    archives = strict.node.archives
    assert archives["main"].reader.instance("1.2.3.1") is None
    assert archives["research"].reader.instance("1.2.3.1") is not None


def test_a3_other_application_context_is_rejected(strict: RunningNode) -> None:
    expect_rejection(strict, (1, 1, 2), calling="CT1", application_context="1.2.840.10008.3.1.1.2")


def test_a3_other_protocol_version_is_rejected_by_the_acse_provider(strict: RunningNode) -> None:
    expect_rejection(strict, (1, 2, 2), calling="CT1", version=2)
    expect_acceptance(strict, calling="CT1", version=3)


def test_a4_association_over_the_limit_is_rejected_as_transient(tmp_path: Path) -> None:
    limits = AssociationSettings(max_associations=2)
    with running_node(tmp_path, association=limits) as node:
        half_open = [ScriptedPeer.connect(node.address) for _ in range(5)]
        with ScriptedPeer.connect(node.address) as first, ScriptedPeer.connect(node.address) as second:
            first.associate()
            second.associate()
            expect_rejection(node, LOCAL_LIMIT_EXCEEDED)
            second.release()
            node.wait_for_connections(6)
            expect_acceptance(node)
        for peer in half_open:
            peer.close()


def test_a4_oldest_half_open_connection_gives_way_to_the_newest(tmp_path: Path) -> None:
    limits = AssociationSettings(max_half_open=3, artim_seconds=30.0)
    with running_node(tmp_path, association=limits) as node:
        mute = [ScriptedPeer.connect(node.address) for _ in range(3)]
        node.wait_for_connections(3)
        expect_acceptance(node)
        mute[0].expect_closed()
        mute[1].associate()
        assert mute[1].echo().status == 0
        for peer in mute:
            peer.close()


@pytest.mark.parametrize("title", ["  CT1", "CT1", "   CT1   ", b"CT1\0\0\0", b"CT1".ljust(16, b"\0")])
def test_a5_padding_of_ae_titles_is_not_significant(strict: RunningNode, title: str | bytes) -> None:
    expect_acceptance(strict, calling=title, called=" PACSLITE ")


def test_a5_ae_titles_are_case_sensitive(strict: RunningNode) -> None:
    expect_rejection(strict, CALLING_NOT_RECOGNIZED, calling="ct1")
    expect_rejection(strict, CALLED_NOT_RECOGNIZED, calling="CT1", called="pacslite")


def test_a5_case_of_ae_titles_is_ignored_by_choice(tmp_path: Path) -> None:
    choice = AdmissionSettings(ignore_ae_title_case=True)
    with running_node(tmp_path, peers=PEERS, admission=choice) as node:
        expect_acceptance(node, calling="ct1", called="PacsLite")
        expect_rejection(node, CALLING_NOT_RECOGNIZED, calling="ct2")


def test_every_listener_serves(tmp_path: Path) -> None:
    listeners = [Listener(port=0), Listener(host="127.0.0.3", port=0)]
    with running_node(tmp_path, listen=listeners) as node:
        assert [host for host, _ in node.node.addresses] == ["127.0.0.1", "127.0.0.3"]
        for address in node.node.addresses:
            with ScriptedPeer.connect(address) as peer:
                peer.associate()
                assert peer.echo().status == 0


def test_reloaded_peers_decide_from_now_on_and_associations_stay(tmp_path: Path) -> None:
    with running_node(tmp_path, peers=PEERS) as node, ScriptedPeer.connect(node.address) as peer:
        peer.associate(calling="CT1")
        newcomer = PeerSettings(name="us", ae_title="US1", host="127.0.0.1")
        settings = node_settings(tmp_path, peers=[newcomer])
        node.call(lambda: node.node.reload_peers(settings))
        expect_rejection(node, CALLING_NOT_RECOGNIZED, calling="CT1")
        expect_acceptance(node, calling="US1")
        assert peer.echo().status == 0


def test_a_reload_changes_neither_title_nor_archives_nor_what_loopback_means(tmp_path: Path) -> None:
    listen = [Listener(host="0.0.0.0", port=0)]
    with running_node(tmp_path, peers=PEERS, listen=listen) as node:
        changed = node_settings(tmp_path, peers=PEERS, ae_title="ELSEWHERE")
        node.call(lambda: node.node.reload_peers(changed))
        expect_acceptance(node, calling="CT1", called="PACSLITE")
        expect_rejection(node, CALLED_NOT_RECOGNIZED, calling="CT1", called="ELSEWHERE")
        without_peers = node_settings(tmp_path)  # right for the loopback listener that it has
        node.call(lambda: node.node.reload_peers(without_peers))
        expect_rejection(node, CALLING_NOT_RECOGNIZED, calling="STRANGER", called="PACSLITE")


def test_case_that_a_reload_makes_insignificant_leads_to_the_same_archive(tmp_path: Path) -> None:
    archives = [ArchiveSettings(name="main"), ArchiveSettings(name="research", ae_titles=["Research"])]
    changed = node_settings(
        tmp_path, archives=archives, peers=PEERS, admission=AdmissionSettings(ignore_ae_title_case=True)
    )
    with running_node(tmp_path, archives=archives, peers=PEERS) as node:
        expect_rejection(node, CALLED_NOT_RECOGNIZED, calling="CT1", called="RESEARCH")
        node.call(lambda: node.node.reload_peers(changed))
        instance = make_instance()
        sender = RawSender(node.address, [syntax_of(instance)], calling="CT1", called="RESEARCH")
        with sender:
            assert sender.store(instance).status == 0
        counts = {name: archive.reader.counts().instances for name, archive in node.node.archives.items()}
        assert counts == {"main": 0, "research": 1}


def test_peer_whose_name_is_not_known_is_only_not_recognized(tmp_path: Path) -> None:
    peers = [
        PeerSettings(name="lost", ae_title="LOST", host="no-such-host.invalid"),
        PeerSettings(name="long", ae_title="LONG", host="a" * 80),
        *PEERS,
    ]
    with running_node(tmp_path, peers=peers) as node:
        expect_rejection(node, CALLING_NOT_RECOGNIZED, calling="LOST")
        expect_acceptance(node, calling="CT1")


def test_title_of_a_ready_ae_leads_to_the_archive_also_after_a_reload(tmp_path: Path) -> None:
    ae = AE("OURS")
    ae.add_supported_context(pdus.VERIFICATION)
    peers = [PeerSettings(name="ct", ae_title="CT1", host="127.0.0.1")]
    with running_node(tmp_path, ae=ae, peers=peers) as node:
        for _ in range(2):
            expect_acceptance(node, calling="CT1", called="OURS")
            expect_rejection(node, CALLED_NOT_RECOGNIZED, calling="CT1", called="PACSLITE")
            node.call(lambda: node.node.reload_peers(node_settings(tmp_path, peers=peers)))


@pytest.mark.parametrize("ignores_case", [False, True])
def test_titles_that_a_pynetdicom_ae_requires_are_required(tmp_path: Path, *, ignores_case: bool) -> None:
    ae = AE("Ours")
    ae.add_supported_context(pdus.VERIFICATION)
    ae.require_calling_aet = ["Ct1"]
    ae.require_called_aet = True
    admission = AdmissionSettings(ignore_ae_title_case=ignores_case)
    with running_node(tmp_path, ae=ae, admission=admission) as node:
        expect_acceptance(node, calling="Ct1", called="Ours")
        expect_rejection(node, CALLING_NOT_RECOGNIZED, calling="MR1", called="Ours")
        expect_rejection(node, CALLED_NOT_RECOGNIZED, calling="Ct1", called="OTHER")
        if ignores_case:
            expect_acceptance(node, calling="CT1", called="OURS")
        else:
            expect_rejection(node, CALLING_NOT_RECOGNIZED, calling="CT1", called="Ours")
