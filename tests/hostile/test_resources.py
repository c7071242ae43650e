"""What instances, associations and visitors cost the real process: memory, time, descriptors."""

import asyncio
import random
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import psutil
import pytest
import xxhash
from support import pdus
from support.acknowledged_sender import Ledger
from support.invariant import archive_folder, check_archive, rows_of
from support.nodes import RunningNode, running_node
from support.processes import Address, NodeProcess
from support.scripted_peer import ScriptedPeer

MIB = 1024 * 1024
MEMORY_ALLOWANCE_BYTES = 32 * MIB
IDLE_SHARE = 0.05
SAMPLE_SECONDS = 0.01
POOL_THREADS = 16
"""What the node's pools may start when they are first needed; one for each visitor would be hundreds."""

MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.7.2"
MULTI_FRAME_UID = "1.2.826.0.1.3680043.8.498.77"
CONTEXT_ID = 5


def anonymous_bytes(pid: int) -> int:
    """Return what of the process's memory is in no file (RssAnon)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell RssAnon")


class MemoryWatch:
    """The most anonymous memory that a process has while the context lasts."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, anonymous_bytes(self.pid))


def multi_frame_head(pixel_bytes: int) -> bytes:
    """Return the data set of a multi-frame instance up to its pixels."""

    def short(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value

    frames = str(pixel_bytes // (512 * 512)).encode()
    return b"".join(
        [
            short(0x0008, 0x0016, b"UI", pdus.padded(MULTI_FRAME)),
            short(0x0008, 0x0018, b"UI", pdus.padded(MULTI_FRAME_UID)),
            short(0x0020, 0x000D, b"UI", pdus.padded("1.2.826.0.1.3680043.8.498.1")),
            short(0x0020, 0x000E, b"UI", pdus.padded("1.2.826.0.1.3680043.8.498.2")),
            short(0x0028, 0x0008, b"IS", frames + b" " * (len(frames) % 2)),
            struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, pixel_bytes),
        ]
    )


def pixel_blocks(pixel_bytes: int, block_bytes: int) -> Iterator[bytes]:
    """Yield pixels that are made on the fly, block by block."""
    noise = random.Random(1).randbytes(MIB + block_bytes)
    position = 0
    while position < pixel_bytes:
        size = min(block_bytes, pixel_bytes - position)
        start = position * 31 % MIB
        yield noise[start : start + size]
        position += size


def stream_multi_frame(peer: ScriptedPeer, pixel_bytes: int, max_pdu_bytes: int) -> str:
    """Send a multi-frame instance without ever holding it; return the digest of its data set."""
    digest = xxhash.xxh3_128()
    head = multi_frame_head(pixel_bytes)
    digest.update(head)
    command = pdus.store_rq(MULTI_FRAME_UID, sop_class_uid=MULTI_FRAME)
    peer.send(pdus.p_data(pdus.pdv(CONTEXT_ID, pdus.COMMAND | pdus.LAST, command)))
    peer.send(pdus.p_data(pdus.pdv(CONTEXT_ID, 0, head)))
    for block in pixel_blocks(pixel_bytes, max_pdu_bytes - 6):
        digest.update(block)
        peer.send(pdus.p_data(pdus.pdv(CONTEXT_ID, 0, block)))
    peer.send(pdus.p_data(pdus.pdv(CONTEXT_ID, pdus.LAST, b"")))
    assert peer.expect_response().status == 0
    return digest.hexdigest()


def digest_of(path: Path, offset: int) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        file.seek(offset)
        while block := file.read(MIB):
            digest.update(block)
    return digest.hexdigest()


@pytest.mark.timeout(180)
def test_a_gibibyte_in_one_instance_takes_no_more_memory_than_allowed(tmp_path: Path) -> None:
    with NodeProcess(tmp_path) as node, ScriptedPeer.connect(node.address, deadline_seconds=60) as peer:
        idle_bytes = anonymous_bytes(node.pid)
        accepted = peer.associate([pdus.context(CONTEXT_ID, MULTI_FRAME, pdus.EXPLICIT)])
        with MemoryWatch(node.pid) as watch:
            digest = stream_multi_frame(peer, 1024 * MIB, accepted.max_length)
        peer.release()
        (row,) = rows_of(tmp_path)
    stored = archive_folder(tmp_path) / "store" / row.path
    assert digest_of(stored, row.data_set_offset) == digest
    stored.unlink()  # pytest keeps the folders of the last runs
    growth = watch.peak_bytes - idle_bytes
    print(f"idle {idle_bytes / MIB:.1f} MiB, peak +{growth / MIB:.1f} MiB")  # noqa: T201 - a figure to report
    assert growth <= MEMORY_ALLOWANCE_BYTES


@contextmanager
def idle_associations(address: Address, count: int) -> Iterator[None]:
    with ExitStack() as peers:
        for _ in range(count):
            peers.enter_context(ScriptedPeer.connect(address)).associate([pdus.VERIFICATION_CONTEXT])
        yield


def busy_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


@pytest.mark.parametrize(
    "seconds", [3.0, pytest.param(20.0, marks=pytest.mark.campaign)], ids=["short", "long"]
)
def test_five_hundred_idle_associations_cost_next_to_nothing(tmp_path: Path, seconds: float) -> None:
    settings = {"association.max_associations": 600}
    with NodeProcess(tmp_path, settings=settings) as node, idle_associations(node.address, 500):
        before = busy_seconds(node.pid)
        time.sleep(seconds)
        share = (busy_seconds(node.pid) - before) / seconds
        print(f"{share:.1%} of a core")  # noqa: T201 - a figure to report
    assert share < IDLE_SHARE


def connect_and_close(address: Address, number: int) -> None:
    with ScriptedPeer.connect(address) as peer:
        if number % 3 == 0:
            peer.send(b"\x01\x00\x00\x00\x01\x00\x00")  # seven bytes of an A-ASSOCIATE-RQ
        if number % 3 == 1:
            peer.reset()


def associate_and_abort(address: Address, number: int) -> None:
    with ScriptedPeer.connect(address) as peer:
        peer.associate()
        if number % 2:
            command = pdus.pdv(3, pdus.COMMAND | pdus.LAST, pdus.store_rq("1.2.3.4"))
            peer.send(pdus.p_data(command) + pdus.p_data(pdus.pdv(3, 0, bytes(500 * number))))
        peer.send(pdus.abort())
        peer.expect_closed()


def go_through(address: Address, scale: int) -> None:
    for number in range(5 * scale):
        connect_and_close(address, number)
    for number in range(2 * scale):
        associate_and_abort(address, number)


def test_those_who_come_and_go_leave_nothing_open(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, settings={"association.artim_seconds": 1.0}) as node:
        process = psutil.Process(node.pid)
        go_through(node.address, 10)  # starts what threads there will be
        node.wait_for(lambda: not process.net_connections("tcp")[1:], "closed sockets", 10)
        descriptors, threads, memory = process.num_fds(), process.num_threads(), anonymous_bytes(node.pid)
        go_through(node.address, 100)
        node.wait_for(lambda: process.num_fds() <= descriptors, "closed descriptors", 10)
        assert process.num_threads() - threads < POOL_THREADS
        assert anonymous_bytes(node.pid) - memory < 4 * MIB
        check_archive(tmp_path, Ledger(), is_running=True)


def test_those_who_come_and_go_leave_no_task_or_session(tmp_path: Path) -> None:
    with running_node(tmp_path) as node:
        tasks = node.call(lambda: tasks_of(node))
        go_through(node.address, 20)
        deadline = time.monotonic() + 10
        while node.connection_count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert node.connection_count == 0
        assert node.call(lambda: tasks_of(node)) <= tasks
        assert node.node._sessions == set()
        (archive,) = node.node.archives.values()
        assert archive._intake._open_bytes == 0
        assert node.loop_errors == []


async def tasks_of(_: RunningNode) -> int:
    return len(asyncio.all_tasks())
