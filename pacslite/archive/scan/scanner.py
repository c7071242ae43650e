"""Reads an instance's header from a data set, and checks that the data set is whole."""

from pacslite.archive.scan.encodings import encoding_of
from pacslite.archive.scan.limits import ScanLimits
from pacslite.archive.scan.sources import BeyondHeadError, ByteSource, InflatedSource, Source
from pacslite.archive.scan.walk import Walk
from pacslite.model.header import InstanceHeader


def scan_header(source: ByteSource, transfer_syntax_uid: str, limits: ScanLimits) -> InstanceHeader:
    """Read the wanted attributes of a data set and check that it is whole.

    Parameters
    ----------
    source
        The data set's bytes, with a reader of those that are not in memory.
    transfer_syntax_uid
        As negotiated.
    limits
        See there.

    Returns
    -------
    InstanceHeader
        Of the data set's top level; of duplicate elements the first.

    Raises
    ------
    CannotUnderstandError
        The data set does not parse or ends early: the peer sees C000.
    OutOfResourcesError
        It inflates beyond the limit, or the stored file is too short: the peer sees A700.
    OSError
        The file could not be read.

    References
    ----------
    PS3.5 7, A.
    """
    encoding = encoding_of(transfer_syntax_uid)
    data_set: Source = source
    if encoding.is_deflated:
        data_set = InflatedSource(source, limits.max_inflated_bytes)
    walk = Walk(data_set, encoding, limits)
    walk.run()
    return InstanceHeader(walk.elements, transfer_syntax_uid, walk.is_misdeclared)


def scan_head(
    head: bytes | bytearray | memoryview, total_bytes: int, transfer_syntax_uid: str, limits: ScanLimits
) -> InstanceHeader | None:
    """Do what `scan_header` does if the head alone suffices; None if the file must be read.

    Parameters
    ----------
    head
        The first bytes of the data set.
    total_bytes
        Size of the whole data set.
    transfer_syntax_uid, limits
        As for `scan_header`.

    Raises
    ------
    CannotUnderstandError, OutOfResourcesError
        As `scan_header`.
    """
    try:
        return scan_header(ByteSource(head, total_bytes), transfer_syntax_uid, limits)
    except BeyondHeadError:
        return None
