"""What no sender in good faith sends: the scanner refuses it quickly and in little memory."""

import random
import struct
import time
import tracemalloc
import zlib
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.real_files import RealFile, readable_files

from pacslite.archive.scan import ByteSource, ScanLimits, scan_head, scan_header, validate
from pacslite.model.attributes import Level
from pacslite.model.errors import CannotUnderstandError, OutOfResourcesError, RefusedError
from pacslite.model.instances import InstanceKey
from pacslite.model.statuses import ERROR_COMMENT_MAX_LENGTH
from pacslite.model.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

LIMITS: Final = ScanLimits(max_inflated_bytes=1024**2)
SYNTAXES: Final = (
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)
SEQUENCE: Final = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff"
ITEM: Final = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
ITEM_END: Final = b"\xfe\xff\x0d\xe0\0\0\0\0"
EMPTY_ITEM: Final = b"\xfe\xff\x00\xe0\0\0\0\0"
PIXELS: Final = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"


def scan(data: bytes) -> tuple[bool, float]:
    start = time.process_time()
    try:
        scan_head(data, len(data), EXPLICIT_VR_LITTLE_ENDIAN, LIMITS)
        was_refused = False
    except CannotUnderstandError:
        was_refused = True
    return was_refused, time.process_time() - start


def scan_somehow(data: bytes, transfer_syntax_uid: str) -> None:
    """Scan, decode and validate; nothing but a refusal may come out."""
    try:
        header = scan_header(ByteSource(data, len(data)), transfer_syntax_uid, LIMITS)
        for level in Level:
            header.values(level)
        validate(header, InstanceKey("1.2", "1.2", transfer_syntax_uid))
    except RefusedError as error:
        if len(error.comment) > ERROR_COMMENT_MAX_LENGTH:
            raise AssertionError(error.comment) from error


def small_files() -> list[RealFile]:
    return [file for file in readable_files() if file.path.stat().st_size < 20_000]


@given(data=st.binary(max_size=400), transfer_syntax_uid=st.sampled_from(SYNTAXES))
def test_random_bytes_are_scanned_or_refused(data: bytes, transfer_syntax_uid: str) -> None:
    scan_somehow(data, transfer_syntax_uid)


@given(
    parts=st.lists(
        st.sampled_from(
            [SEQUENCE, ITEM, ITEM_END, EMPTY_ITEM, PIXELS, b"\xfe\xff\xdd\xe0\0\0\0\0", b"\0" * 4]
        )
        | st.binary(min_size=8, max_size=12),
        max_size=30,
    ),
    transfer_syntax_uid=st.sampled_from(SYNTAXES[:3]),
)
def test_random_structure_is_scanned_or_refused(parts: list[bytes], transfer_syntax_uid: str) -> None:
    scan_somehow(b"".join(parts), transfer_syntax_uid)


@pytest.mark.parametrize("seed", range(8))
def test_mutated_real_files_are_scanned_or_refused(seed: int) -> None:
    chance = random.Random(seed)
    for file in small_files():
        for _ in range(10):
            data = bytearray(file.data_set())
            for _ in range(chance.randint(1, 8)):
                at = chance.randrange(len(data))
                data[at : at + chance.randint(0, 2)] = chance.choice(
                    [b"\xff\xff\xff\xff", b"\xff", b"\0", chance.randbytes(2), SEQUENCE, ITEM, ITEM_END]
                )
            scan_somehow(bytes(data), chance.choice([file.transfer_syntax_uid, *SYNTAXES]))


@pytest.mark.parametrize(
    ("data", "is_refused"),
    [
        (b"\x09\0\1\0LO\0\0" * 999_990, False),
        (b"\x09\0\1\0LO\0\0" * 4_000_000, True),
        (b"\x08\0\5\0CS\0\0" + b"\x09\0\1\0\0\0\0\0" * 999_980, False),
        (SEQUENCE + EMPTY_ITEM * 2_000_000, True),
        (SEQUENCE + (ITEM + ITEM_END) * 1_000_000, True),
        (PIXELS + EMPTY_ITEM * 2_000_000, True),
        ((SEQUENCE + ITEM) * 1_000_000, True),
        (ITEM_END * 2_000_000, True),
        (bytes(20_000_000), True),
    ],
    ids=["empty", "too many", "implicit", "items", "open items", "fragments", "depth", "delimiters", "zeros"],
)
def test_x_ds_data_set_of_very_many_parts_takes_time_by_its_size(data: bytes, *, is_refused: bool) -> None:
    was_refused, seconds = scan(data)
    assert was_refused == is_refused
    _, seconds_of_a_tenth = scan(data[: len(data) // 10])
    assert seconds < 30 * seconds_of_a_tenth + 0.1


@pytest.mark.parametrize("depth", [64, 65])
def test_x_nest_sequences_are_followed_to_the_stated_depth(depth: int) -> None:
    data = (SEQUENCE + ITEM) * depth + (ITEM_END + b"\xfe\xff\xdd\xe0\0\0\0\0") * depth
    if depth <= LIMITS.max_depth:
        scan_head(data, len(data), EXPLICIT_VR_LITTLE_ENDIAN, LIMITS)
    else:
        with pytest.raises(CannotUnderstandError):
            scan_head(data, len(data), EXPLICIT_VR_LITTLE_ENDIAN, LIMITS)


def bomb(inflated_bytes: int) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<L", 0xFFFFFFF0)
    parts = [
        deflater.compress(head),
        *(deflater.compress(bytes(1024**2)) for _ in range(inflated_bytes >> 20)),
    ]
    return b"".join([*parts, deflater.flush()])


def test_x_bomb_inflating_is_bounded_in_size_and_memory() -> None:
    data = bomb(256 * 1024**2)
    limits = ScanLimits(max_inflated_bytes=128 * 1024**2)
    tracemalloc.start()
    try:
        with pytest.raises(OutOfResourcesError):
            scan_head(data, len(data), DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, limits)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2 * 1024**2
