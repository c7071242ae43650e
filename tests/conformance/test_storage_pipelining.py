"""C-STORE requests sent ahead of their answers: not negotiated (PS3.7 D.3.3.3), but nothing may be lost."""

import gc
from pathlib import Path

from support import pdus
from support.instances import make_instance
from support.kept import check_kept, check_nothing_else, wait_until
from support.nodes import STORAGE, running_node
from support.raw_sender import RawSender, store
from support.scripted_peer import honest_echo_seconds

from pacslite.archive.receipt import Receipt
from pacslite.dimse.serving import MAX_WAITING_REQUESTS


def test_pipelined_requests_are_all_kept_whole(tmp_path: Path) -> None:
    first = make_instance(pixels=bytes(300_000))
    rest = [make_instance(pixels=bytes([number]) * size) for number, size in enumerate((20, 3_000, 90_000))]
    with running_node(tmp_path) as node:
        with RawSender.of(node.address, first) as sender:
            beginning = sender.command(first) + sender.data(first)[:-40]
            sender.peer.send(beginning)
            # the end of one data set and all of the next share a read
            end = sender.data(first)[-40:]
            sender.peer.send(end + b"".join(sender.command(each) + sender.data(each) for each in rest))
            assert [sender.answer().status for _ in range(4)] == [0, 0, 0, 0]
        for instance in (first, *rest):
            check_kept(node, instance)
        check_nothing_else(node)


def test_a_request_behind_a_refused_one_is_kept_whole(tmp_path: Path) -> None:
    limits = STORAGE.model_copy(update={"max_object_bytes": 200_000})
    first = make_instance(pixels=bytes(300_000))
    second = make_instance(pixels=bytes(range(256)) * 400)
    with running_node(tmp_path, storage=limits) as node:
        with RawSender.of(node.address, first) as sender:
            sender.peer.send(sender.command(first) + sender.data(first)[:150_000])
            rest = sender.data(first)[150_000:]
            sender.peer.send(rest + sender.command(second) + sender.data(second))
            assert [sender.answer().status for _ in range(2)] == [0xA700, 0]
        check_kept(node, second)
        check_nothing_else(node)


def test_a_release_behind_a_request_waits_for_its_answer(tmp_path: Path) -> None:
    instance = make_instance(pixels=bytes(200_000))
    with running_node(tmp_path) as node:
        sender = RawSender.of(node.address, instance)
        sender.peer.send(sender.command(instance) + sender.data(instance) + pdus.release_rq())
        assert sender.answer().status == 0
        sender.peer.expect_release_rp()
        sender.peer.close()
        check_kept(node, instance)


def test_an_abort_behind_a_request_leaves_all_or_nothing_of_it(tmp_path: Path) -> None:
    instance = make_instance(pixels=bytes(200_000))
    with running_node(tmp_path) as node:
        sender = RawSender.of(node.address, instance)
        sender.peer.send(sender.command(instance) + sender.data(instance) + pdus.abort())
        sender.peer.drain()
        sender.peer.close()
        wait_until(lambda: node.connection_count == 0, "the connection is still counted")
        check_nothing_else(node)
        assert store(node.address, instance).status == 0
        check_kept(node, instance)
        check_nothing_else(node)


def test_a_command_and_its_data_set_may_share_a_pdu(tmp_path: Path) -> None:
    instance = make_instance()
    with running_node(tmp_path) as node:
        with RawSender.of(node.address, instance) as sender:
            pdvs = sender.command(instance)[6:] + b"".join(pdu[6:] for pdu in sender.data_pdus(instance))
            sender.peer.send(pdus.p_data(pdvs))
            assert sender.answer().status == 0
        check_kept(node, instance)


def receipts() -> list[Receipt]:
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, Receipt)]


def test_of_what_one_read_brings_only_a_few_requests_are_taken_ahead(tmp_path: Path) -> None:
    instances = [make_instance(pixels=bytes(8)) for _ in range(100)]
    with running_node(tmp_path) as node, RawSender.of(node.address, instances[0]) as sender:
        with node.held_stores():
            sender.peer.send(b"".join(sender.command(each) + sender.data(each) for each in instances))
            wait_until(lambda: len(receipts()) > MAX_WAITING_REQUESTS, "the requests are not taken")
            honest_echo_seconds(node.address)
            assert len(receipts()) == 1 + MAX_WAITING_REQUESTS
        assert [sender.answer().status for _ in instances] == [0] * len(instances)
        for instance in instances:
            check_kept(node, instance)
        check_nothing_else(node)


def test_an_abort_behind_more_requests_than_are_taken_ahead_is_noticed(tmp_path: Path) -> None:
    instances = [make_instance(pixels=bytes(8)) for _ in range(20)]
    with running_node(tmp_path) as node:
        sender = RawSender.of(node.address, instances[0])
        with node.held_stores():
            requests = b"".join(sender.command(each) + sender.data(each) for each in instances)
            sender.peer.send(requests + pdus.abort())
            wait_until(lambda: len(receipts()) > MAX_WAITING_REQUESTS, "the requests are not taken")
        sender.peer.drain()
        sender.peer.close()
        wait_until(lambda: node.connection_count == 0, "the connection is still counted")
        wait_until(lambda: not receipts(), "receipts are left")


def test_an_idle_association_keeps_nothing_of_what_it_sent(tmp_path: Path) -> None:
    instance = make_instance(pixels=bytes(200_000))

    with running_node(tmp_path) as node, RawSender.of(node.address, instance) as sender:
        assert sender.store(instance).status == 0
        wait_until(lambda: not receipts(), "the association holds on to its last receipt")
