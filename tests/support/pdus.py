"""PDUs, PDVs and command sets made by hand, byte by byte: nothing here shares code with the node."""

import struct
from collections.abc import Iterable, Sequence

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)

C_STORE_RQ, C_STORE_RSP, C_ECHO_RQ, C_ECHO_RSP = 0x0001, 0x8001, 0x0030, 0x8030
C_FIND_RQ, C_CANCEL_RQ, N_ACTION_RQ = 0x0020, 0x0FFF, 0x0130
NO_DATA_SET, DATA_SET = 0x0101, 0x0000

COMMAND, LAST = 1, 2

Context = tuple[int, bytes, Sequence[bytes]]


def pdu(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    """Return a PDU; `length` lies about the body."""
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def item(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    """Return an item or sub-item of an A-ASSOCIATE PDU; `length` lies about the body."""
    return struct.pack(">BxH", kind, len(body) if length is None else length) + body


def raw_uid(uid: str | bytes) -> bytes:
    return uid if isinstance(uid, bytes) else uid.encode("ascii")


def context(context_id: int, abstract_syntax: str | bytes, *transfer_syntaxes: str | bytes) -> bytes:
    """Return a proposed presentation context item (PS3.8 Table 9-13)."""
    syntaxes = b"".join(item(0x40, raw_uid(uid)) for uid in transfer_syntaxes or (IMPLICIT,))
    return item(0x20, bytes((context_id, 0, 0, 0)) + item(0x30, raw_uid(abstract_syntax)) + syntaxes)


def max_length(length: int) -> bytes:
    return item(0x51, struct.pack(">I", length))


def implementation(uid: str | bytes = "1.2.3.4", version: bytes = b"SCRIPTED") -> bytes:
    return item(0x52, raw_uid(uid)) + item(0x55, version)


def role(sop_class_uid: str, *, scu: int, scp: int) -> bytes:
    """Return an SCP/SCU role selection sub-item (PS3.7 D.3.3.4)."""
    uid = sop_class_uid.encode("ascii")
    return item(0x54, struct.pack(">H", len(uid)) + uid + bytes((scu, scp)))


def async_window(invoked: int, performed: int) -> bytes:
    return item(0x53, struct.pack(">HH", invoked, performed))


def user_identity(
    kind: int, primary: bytes, secondary: bytes = b"", *, wants_response: bool = False
) -> bytes:
    head = bytes((kind, wants_response)) + struct.pack(">H", len(primary)) + primary
    return item(0x58, head + struct.pack(">H", len(secondary)) + secondary)


def ae(title: str | bytes) -> bytes:
    return raw_uid(title).ljust(16)


VERIFICATION_CONTEXT = context(1, VERIFICATION)
STORAGE_CONTEXT = context(3, CT_IMAGE_STORAGE, EXPLICIT)
BOTH = (VERIFICATION_CONTEXT, STORAGE_CONTEXT)


def associate_rq(
    contexts: Iterable[bytes] = BOTH,
    *,
    calling: str | bytes = "SCRIPTED",
    called: str | bytes = "PACSLITE",
    application_context: str | bytes = APPLICATION_CONTEXT,
    user_items: bytes | None = None,
    version: int = 1,
) -> bytes:
    """Return an A-ASSOCIATE-RQ (PS3.8 Table 9-11)."""
    if user_items is None:
        user_items = max_length(16384) + implementation()
    head = struct.pack(">Hxx", version) + ae(called) + ae(calling) + bytes(32)
    variable = item(0x10, raw_uid(application_context)) + b"".join(contexts) + item(0x50, user_items)
    return pdu(ASSOCIATE_RQ, head + variable)


def associate_ac(
    results: Iterable[tuple[int, int, str]],
    *,
    user_items: bytes | None = None,
    calling: str = "",
    called: str = "",
) -> bytes:
    """Return an A-ASSOCIATE-AC of (context id, result, transfer syntax) each (PS3.8 Table 9-17)."""
    if user_items is None:
        user_items = max_length(16384) + implementation()
    contexts = b"".join(
        item(0x21, bytes((context_id, 0, result, 0)) + item(0x40, syntax.encode("ascii")))
        for context_id, result, syntax in results
    )
    head = struct.pack(">Hxx", 1) + ae(called) + ae(calling) + bytes(32)
    variable = item(0x10, APPLICATION_CONTEXT.encode("ascii")) + contexts + item(0x50, user_items)
    return pdu(ASSOCIATE_AC, head + variable)


def associate_rj(result: int, source: int, reason: int) -> bytes:
    return pdu(ASSOCIATE_RJ, bytes((0, result, source, reason)))


def release_rq() -> bytes:
    return pdu(RELEASE_RQ, bytes(4))


def release_rp() -> bytes:
    return pdu(RELEASE_RP, bytes(4))


def abort(source: int = 0, reason: int = 0) -> bytes:
    return pdu(ABORT, bytes((0, 0, source, reason)))


def pdv(context_id: int, control: int, data: bytes, *, length: int | None = None) -> bytes:
    """Return a presentation data value item; `length` lies about it (PS3.8 9.3.5.1)."""
    length = len(data) + 2 if length is None else length
    return struct.pack(">IBB", length, context_id, control) + data


def p_data(*pdvs: bytes) -> bytes:
    return pdu(P_DATA, b"".join(pdvs))


def fragments(context_id: int, kind: int, data: bytes, size: int) -> list[bytes]:
    """Return `data` as PDVs of at most `size` bytes of data each, the last one marked."""
    starts = range(0, len(data) or 1, size)
    return [
        pdv(context_id, kind | (LAST if start + size >= len(data) else 0), data[start : start + size])
        for start in starts
    ]


def element(number: int, value: bytes) -> bytes:
    """Return an element of group 0000 (PS3.7 6.3.1)."""
    return struct.pack("<HHI", 0, number, len(value)) + value


def us(value: int) -> bytes:
    return struct.pack("<H", value)


def padded(uid: str | bytes) -> bytes:
    value = raw_uid(uid)
    return value + b"\0" * (len(value) % 2)


def command_set(elements: Iterable[tuple[int, bytes]]) -> bytes:
    body = b"".join(element(number, value) for number, value in elements)
    return element(0x0000, struct.pack("<I", len(body))) + body


def echo_rq(message_id: int = 1, *, sop_class_uid: str = VERIFICATION, field: int = C_ECHO_RQ) -> bytes:
    """Return the command set of a C-ECHO-RQ, or of another request without a data set."""
    return command_set(
        [
            (0x0002, padded(sop_class_uid)),
            (0x0100, us(field)),
            (0x0110, us(message_id)),
            (0x0800, us(NO_DATA_SET)),
        ]
    )


def store_rq(
    sop_instance_uid: str | bytes,
    message_id: int = 1,
    *,
    sop_class_uid: str = CT_IMAGE_STORAGE,
    data_set_type: int = DATA_SET,
) -> bytes:
    """Return the command set of a C-STORE-RQ (PS3.7 9.3.1.1)."""
    return command_set(
        [
            (0x0002, padded(sop_class_uid)),
            (0x0100, us(C_STORE_RQ)),
            (0x0110, us(message_id)),
            (0x0700, us(0)),
            (0x0800, us(data_set_type)),
            (0x1000, padded(sop_instance_uid)),
        ]
    )


def cancel_rq(message_id: int) -> bytes:
    return command_set([(0x0100, us(C_CANCEL_RQ)), (0x0120, us(message_id)), (0x0800, us(NO_DATA_SET))])


def echo_pdu(context_id: int = 1, message_id: int = 1) -> bytes:
    return p_data(pdv(context_id, COMMAND | LAST, echo_rq(message_id)))


def store_pdus(
    sop_instance_uid: str, data: bytes, *, context_id: int = 3, message_id: int = 1, size: int = 16000
) -> bytes:
    """Return a C-STORE-RQ with its data set, one PDV per PDU."""
    command = p_data(pdv(context_id, COMMAND | LAST, store_rq(sop_instance_uid, message_id)))
    return command + b"".join(p_data(fragment) for fragment in fragments(context_id, 0, data, size))


def ct_data_set(sop_instance_uid: str, pixel_bytes: int = 64, *, seed: int = 0) -> bytes:
    """Return a CT instance in explicit VR little endian, just enough of it to be kept."""

    def short(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value

    pixels = bytes((index * 7 + seed) % 251 for index in range(251)) * (pixel_bytes // 251 + 1)
    return b"".join(
        [
            short(0x0008, 0x0016, b"UI", padded(CT_IMAGE_STORAGE)),
            short(0x0008, 0x0018, b"UI", padded(sop_instance_uid)),
            short(0x0010, 0x0020, b"LO", b"SCRIPTED"),
            short(0x0020, 0x000D, b"UI", padded("1.2.826.0.1.3680043.8.498.1")),
            short(0x0020, 0x000E, b"UI", padded("1.2.826.0.1.3680043.8.498.2")),
            struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, pixel_bytes) + pixels[:pixel_bytes],
        ]
    )
