"""Data sets as P-DATA-TF PDUs: room for the headers is left in the memory that the data is read into."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from pacslite.upperlayer.pdu import LAST_FRAGMENT, PDU_HEADER_BYTES, PDV_HEADER_BYTES, p_data_header

BLOCK_BYTES: Final = 1024 * 1024
"""Data in one block, about."""

MAX_PIECES: Final = 1024
"""What one `os.preadv` fills at most (IOV_MAX)."""


class DataSetBlock(NamedTuple):
    """A part of a data set on its way to the peer.

    Parameters
    ----------
    pieces
        To be filled with the data, in order.
    memory
        The PDUs, headers and pieces; not to be used again once it was sent.
    """

    pieces: list[memoryview]
    memory: memoryview


def data_set_blocks(
    context_id: int, data_set_bytes: int, max_pdu_bytes: int, *, command_pdus: bytes = b""
) -> Iterator[DataSetBlock]:
    """Yield the blocks that carry a data set, one PDV in each PDU (PS3.8 9.3.5, E.2).

    Parameters
    ----------
    data_set_bytes
        Size of the whole data set.
    max_pdu_bytes
        Longest variable field that the peer takes.
    command_pdus
        Precede the data in the first block, so that a small message is one write.
    """
    step = max_pdu_bytes - PDV_HEADER_BYTES
    block_bytes = step * max(1, min(BLOCK_BYTES // step, MAX_PIECES))
    before = command_pdus
    for start in range(0, data_set_bytes or 1, block_bytes):
        left = data_set_bytes - start
        yield _block(context_id, min(left, block_bytes), step, before, is_last=left <= block_bytes)
        before = b""


def _block(context_id: int, data_bytes: int, step: int, before: bytes, *, is_last: bool) -> DataSetBlock:
    count = -(-data_bytes // step) or 1
    header_bytes = PDU_HEADER_BYTES + PDV_HEADER_BYTES
    memory = memoryview(bytearray(len(before) + count * header_bytes + data_bytes))
    memory[: len(before)] = before
    position = len(before)
    pieces = []
    for number in range(1, count + 1):
        size = min(step, data_bytes)
        control = LAST_FRAGMENT if is_last and number == count else 0
        memory[position : position + header_bytes] = p_data_header(context_id, control, size)
        position += header_bytes
        pieces.append(memory[position : position + size])
        position += size
        data_bytes -= size
    return DataSetBlock(pieces, memory)
