"""Before each Success: folder synced, file written and synced, index written and synced (strace)."""

import os
import random
import shutil
import struct
from pathlib import Path

import pytest
from support import pdus
from support.acknowledged_sender import make_instance, store
from support.invariant import archive_folder, rows_of
from support.processes import NodeProcess
from support.scripted_peer import ScriptedPeer
from support.store_order import SHOWN_BYTES, TRACED, OrderError, check_store_order, parse_trace

STRACE = shutil.which("strace")
STORES = 100
UID = "1.2.3"
FILE = "/data/archives/main/store/node1/01/0001.dcm"
LOG = "/data/archives/main/index.sqlite-wal"


def escaped(data: bytes) -> str:
    return "".join(f"\\{value:03o}" for value in data)


RESPONSE = pdus.p_data(
    pdus.pdv(
        3,
        pdus.COMMAND | pdus.LAST,
        pdus.command_set(
            [(0x0100, pdus.us(pdus.C_STORE_RSP)), (0x0900, pdus.us(0)), (0x1000, pdus.padded(UID))]
        ),
    )
)
HONEST = [
    '7 1.0 mkdir("/data/archives/main/store/node1/01", 0700) = 0',
    "7 1.1 fsync(4</data/archives/main/store/node1>) = 0",
    f'7 1.2 openat(AT_FDCWD, "{FILE}", O_WRONLY|O_CREAT|O_EXCL, 0600) = 5<{FILE}>',
    "7 1.3 fsync(4</data/archives/main/store/node1/01>) = 0",
    f'8 2.0 writev(5<{FILE}>, [{{iov_base="DICM", iov_len=4}}], 1) = 4',
    f"8 2.1 fdatasync(5<{FILE}> <unfinished ...>",
    "9 2.2 futex(0x1, FUTEX_WAIT) = 0",
    "8 2.3 <... fdatasync resumed>) = 0",
    f'9 3.0 pwrite64(6<{LOG}>, "{escaped(struct.pack(">6I", 1, 0, 0, 0, 0, 0))}", 24, 32) = 24',
    f'9 3.1 pwrite64(6<{LOG}>, "...node1/01/0001.dcm...", 4096, 56) = 4096',
    f'9 3.2 pwrite64(6<{LOG}>, "{escaped(struct.pack(">6I", 2, 9, 0, 0, 0, 0))}", 24, 4152) = 24',
    f'9 3.3 pwrite64(6<{LOG}>, "...", 4096, 4176) = 4096',
    f"9 3.4 fdatasync(6<{LOG}>) = 0",
    f'7 4.0 write(9<TCP:[127.0.0.1:104->127.0.0.1:4242]>, "{escaped(RESPONSE)}", 99) = 99',
]


def check(trace: list[str]) -> int:
    return check_store_order(parse_trace(trace), {UID: FILE}, "/data")


def test_an_honest_trace_passes() -> None:
    assert check(HONEST) == 1


def test_what_is_no_success_needs_no_order() -> None:
    assert check(HONEST[:-1]) == 0


@pytest.mark.parametrize("index", [1, 2, 3, 4, 11, 12], ids=lambda index: HONEST[index][6:40])
def test_a_trace_that_lacks_a_step_fails(index: int) -> None:
    with pytest.raises(OrderError):
        check([*HONEST[:index], *HONEST[index + 1 :]])


@pytest.mark.parametrize("index", [1, 3, 4, 12], ids=lambda index: HONEST[index][6:40])
def test_a_trace_in_which_a_step_failed_fails(index: int) -> None:
    with pytest.raises(OrderError):
        check([*HONEST[:index], HONEST[index].rsplit("=", 1)[0] + "= -1 EIO", *HONEST[index + 1 :]])


@pytest.mark.parametrize(
    ("moved", "behind"),
    [(1, 13), (3, 4), (4, 5), (4, 7), (7, 9), (12, 9), (12, 10), (12, 11), (12, 13)],
    ids=lambda index: HONEST[index][6:30],
)
def test_a_trace_in_which_a_step_comes_late_or_early_fails(moved: int, behind: int) -> None:
    rest = [line for number, line in enumerate(HONEST) if number != moved]
    place = rest.index(HONEST[behind]) + (moved < behind)
    with pytest.raises(OrderError):
        check([*rest[:place], HONEST[moved], *rest[place:]])


OPEN_LOG = f'9 2.9 openat(AT_FDCWD, "{LOG}", O_RDWR|O_CREAT, 0600) = 6<{LOG}>'
SYNC_LOG_FOLDER = "9 3.4 fsync(7</data/archives/main>) = 0"


def test_the_entry_of_a_new_log_is_durable_too_and_of_one_that_is_there_it_is_already() -> None:
    with pytest.raises(OrderError, match="wal was made in it"):
        check([OPEN_LOG, *HONEST])
    assert check([OPEN_LOG, *HONEST[:8], SYNC_LOG_FOLDER, OPEN_LOG, *HONEST[8:]]) == 1
    removed = f'9 2.8 unlink("{LOG}") = 0'
    with pytest.raises(OrderError, match="wal was made in it"):
        check([OPEN_LOG, SYNC_LOG_FOLDER, removed, OPEN_LOG, *HONEST])


def test_a_trace_in_which_the_file_is_renamed_fails() -> None:
    with pytest.raises(OrderError):
        check([*HONEST[:8], f'8 2.9 rename("/data/tmp", "{FILE}") = 0', *HONEST[8:]])


def traced_node(data_folder: Path, trace: Path) -> NodeProcess:
    assert STRACE is not None
    options = ["-f", "-yy", "-ttt", "-s", str(SHOWN_BYTES), "-e", f"trace={TRACED}", "-o", str(trace)]
    return NodeProcess(data_folder, wrapper=[STRACE, *options], settings={"storage.segment_files": 40})


def send_alternately(address: tuple[str, int], count: int) -> None:
    """Send on two associations; the second's data sets are under way while the first one's are answered."""
    rng = random.Random(1)
    with ScriptedPeer.connect(address) as first, ScriptedPeer.connect(address) as second:
        first.associate()
        second.associate()
        for number in range(0, count, 2):
            early = make_instance(rng, f"1.2.826.0.1.3680043.8.498.{number + 1}", 100_000)
            late = make_instance(rng, f"1.2.826.0.1.3680043.8.498.{number + 2}", 10_000)
            second.send(pdus.store_pdus(late.uid, late.data_set))
            assert store(first, early) == 0
            assert second.expect_response().status == 0
        first.release()
        second.release()


@pytest.mark.skipif(STRACE is None and os.environ.get("CI") != "true", reason="strace is not installed")
def test_the_real_node_makes_all_durable_before_each_success(tmp_path: Path) -> None:
    data_folder, trace = tmp_path / "data", tmp_path / "trace"
    with traced_node(data_folder, trace) as node:
        send_alternately(node.address, STORES)
        node.terminate()
        assert node.wait(30) == 0
    store_folder = archive_folder(data_folder) / "store"
    paths = {row.uid: str(store_folder / row.path) for row in rows_of(data_folder)}
    with trace.open(encoding="latin-1") as lines:
        calls = parse_trace(lines)
    assert check_store_order(calls, paths, str(data_folder)) == STORES
