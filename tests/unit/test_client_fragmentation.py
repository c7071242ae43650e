import struct

import pytest

from pacslite.dimse.fragmentation import BLOCK_BYTES, MAX_PIECES, data_set_blocks
from pacslite.upperlayer.pdu import p_data_pdus


@pytest.mark.parametrize("limit", [12, 13, 4096, 16384, 131072])
@pytest.mark.parametrize("size", [0, 1, 6, 7, 4090, 16378, 131066, 200_001, 2 * BLOCK_BYTES + 5])
def test_blocks_are_what_the_simple_way_gives(limit: int, size: int) -> None:
    if limit < 100:
        size = min(size, 20_000)
    data = bytes(number % 251 for number in range(size))
    sent = b""
    position = 0
    for block in data_set_blocks(7, size, limit, command_pdus=b"command"):
        assert len(block.pieces) <= MAX_PIECES
        for piece in block.pieces:
            piece[:] = data[position : position + len(piece)]
            position += len(piece)
        sent += bytes(block.memory)
    expected = b"".join(p_data_pdus(7, data, is_command=False, max_pdu_bytes=limit))
    assert position == size
    assert sent == b"command" + expected


def test_every_pdu_but_the_last_is_full() -> None:
    (block,) = data_set_blocks(1, 100_000, 16384)
    lengths = [len(piece) for piece in block.pieces]
    assert lengths == [16378] * 6 + [100_000 - 6 * 16378]
    assert struct.unpack_from(">BxI", block.memory) == (4, 16384)


def test_memory_does_not_depend_on_the_size_of_the_data_set() -> None:
    blocks = data_set_blocks(1, 1 << 40, 131072)
    assert BLOCK_BYTES * 0.8 < len(next(blocks).memory) < BLOCK_BYTES * 1.1
