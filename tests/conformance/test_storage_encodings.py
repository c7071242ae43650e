"""Deflated, big endian and misdeclared data sets (cases S20 to S22)."""

import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from support import pdus
from support.instances import (
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    Instance,
    deflated,
    element,
    encapsulated,
    item,
    make_instance,
    unique_uid,
)
from support.kept import archive_of, check_kept, check_nothing_else, indexed, path_of
from support.nodes import STORAGE, RunningNode, running_node
from support.raw_sender import RawSender, store
from support.scripted_peer import ScriptedPeer

from pacslite.archive import ingest
from pacslite.archive.scan import ByteSource, ScanLimits, scan_header
from pacslite.model.attributes import Level
from pacslite.model.header import InstanceHeader

MIB = 1024**2
JPEG_2000 = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"
FUTURE_SYNTAX = "1.2.840.10008.1.2.4.999"
PRIVATE_SYNTAX = "1.2.840.113619.5.2"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("node")) as running:
        yield running
        assert not running.loop_errors


def declared(syntax: str, made: Instance, raw: bytes | None = None) -> Instance:
    """Return `made` as if its bytes, or `raw`, were in `syntax`."""
    return Instance(
        CT,
        made.sop_instance_uid,
        syntax,
        made.raw if raw is None else raw,
        made.study_instance_uid,
        made.series_instance_uid,
    )


def bomb(inflated_bytes: int) -> Instance:
    """Return a deflated instance whose pixel data inflate to so many zeros."""
    made = make_instance(pixels=None)
    start = made.raw + element(0x7FE0_0010, "OW", b"", length=inflated_bytes)
    compressor = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
    stream = compressor.compress(start)
    for _ in range(inflated_bytes // MIB):
        stream += compressor.compress(bytes(MIB))
    stream += compressor.compress(bytes(inflated_bytes % MIB)) + compressor.flush()
    return declared(DEFLATED, made, stream + b"\0" * (len(stream) % 2))


@pytest.mark.parametrize("padding", [b"", b"\0"], ids=["as it is", "a byte more"])
@pytest.mark.parametrize("pixel_bytes", range(100, 108))
def test_s20_deflated_streams_of_odd_and_even_length_are_kept(
    node: RunningNode, pixel_bytes: int, padding: bytes
) -> None:
    made = make_instance(pixels=bytes(range(pixel_bytes)))
    instance = declared(DEFLATED, made, deflated(made.raw, is_padded=False) + padding)
    assert store(node.address, instance).status == 0
    found = check_kept(node, instance)
    assert found.values[Level.PATIENT]["patient_name"] == "Doe^Jane"
    assert found.values[Level.INSTANCE]["rows"] == 8
    if len(instance.raw) % 2 == 0:
        stored = pydicom.dcmread(path_of(node, found.file))
        assert stored.SOPInstanceUID == instance.sop_instance_uid


def test_s20_a_large_deflated_instance_is_kept(node: RunningNode) -> None:
    instance = bomb(64 * MIB)
    assert store(node.address, instance).status == 0
    check_kept(node, instance)


def test_s20_a_bomb_is_a700_and_the_next_instance_is_kept(tmp_path: Path) -> None:
    storage = STORAGE.model_copy(update={"max_inflated_bytes": 32 * MIB})
    good = make_instance(DEFLATED)
    with running_node(tmp_path, storage=storage) as node:
        for size in (32 * MIB, 256 * MIB):
            instance = bomb(size)
            with RawSender.of(node.address, instance) as sender:
                answer = sender.store(instance)
                assert answer.status == 0xA700
                assert answer.comment == "Deflated data set inflates to more than the node's limit"
                assert sender.store(make_instance(DEFLATED)).status == 0
            assert archive_of(node).reader.instance(instance.sop_instance_uid) is None
        assert store(node.address, good).status == 0
        check_kept(node, good)
        check_nothing_else(node)


def test_s20_other_senders_do_not_wait_for_bombs(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte can keep a thread inflating for seconds: it is none of those that write."""
    may_inflate = threading.Event()

    def slow_scan(source: ByteSource, syntax: str, limits: ScanLimits) -> InstanceHeader:
        may_inflate.wait(20)
        return scan_header(source, syntax, limits)

    monkeypatch.setattr(ingest, "scan_header", slow_scan)
    bombs = [make_instance(DEFLATED) for _ in range(12)]
    honest = make_instance(pixels=bytes(2 * MIB))
    senders = [RawSender.of(node.address, each) for each in bombs]
    for sender, each in zip(senders, bombs, strict=True):
        sender.peer.send(sender.command(each) + sender.data(each))
    assert store(node.address, honest).status == 0
    may_inflate.set()
    for sender, each in zip(senders, bombs, strict=True):
        assert sender.answer().status == 0
        sender.peer.release()
        check_kept(node, each)
    check_kept(node, honest)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_s20_s21_every_encoding_gives_the_same_index(node: RunningNode, syntax: str) -> None:
    sequence = element(
        0x0008_1140,
        "SQ",
        item(
            element(0x0008_1150, "UI", b"1.2.3\0", syntax if syntax != DEFLATED else EXPLICIT),
            syntax if syntax != DEFLATED else EXPLICIT,
        ),
    )[12:]
    instance = make_instance(
        syntax,
        Rows=300,
        Columns=513,
        BitsAllocated=16,
        BitsStored=12,
        NumberOfFrames="3",
        SeriesNumber="7",
        extra={0x0008_1140: ("SQ", sequence)},
    )
    assert store(node.address, instance).status == 0
    found = check_kept(node, instance)
    assert not found.is_misdeclared
    values = found.values[Level.INSTANCE]
    assert (values["rows"], values["columns"]) == (300, 513)
    assert (values["bits_allocated"], values["bits_stored"]) == (16, 12)
    assert found.values[Level.STUDY]["study_date"] == "20240229"
    assert found.study_instance_uid == instance.study_instance_uid
    stored = pydicom.dcmread(path_of(node, found.file))
    assert (stored.Rows, stored.Columns) == (300, 513)


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG_ENDIAN])
def test_s21_a_sequence_of_undefined_length_in_un_is_walked(node: RunningNode, syntax: str) -> None:
    """What is inside UN of undefined length is implicit little endian, whatever is outside (PS3.5 6.2.2)."""
    inner = struct.pack("<HHI", 0x0008, 0x1150, 6) + b"1.2.3\0"
    value = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    made = make_instance(syntax, extra={0x0009_1010: ("UN", value)})
    order = ">" if syntax == BIG_ENDIAN else "<"
    length = struct.pack(f"{order}I", len(value))
    assert made.raw.count(length + value) == 1
    instance = declared(syntax, made, made.raw.replace(length + value, b"\xff" * 4 + value))
    assert store(node.address, instance).status == 0
    check_kept(node, instance)


@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED])
def test_s22_encapsulated_pixels_under_a_native_syntax_are_kept_and_flagged(
    node: RunningNode, syntax: str
) -> None:
    made = make_instance(pixels=None)
    raw = made.raw + encapsulated([b"\xff\xd8\xff\xe0" + bytes(96)])
    instance = declared(syntax, made, deflated(raw) if syntax == DEFLATED else raw)
    assert store(node.address, instance).status == 0
    assert check_kept(node, instance).is_misdeclared


@pytest.mark.parametrize("syntax", [JPEG_BASELINE, JPEG_2000, RLE])
def test_s22_native_pixels_under_an_encapsulated_syntax_are_kept_and_flagged(
    node: RunningNode, syntax: str
) -> None:
    instance = declared(syntax, make_instance())
    assert store(node.address, instance).status == 0
    assert check_kept(node, instance).is_misdeclared


@pytest.mark.parametrize(
    ("syntax", "real"), [(EXPLICIT, IMPLICIT), (IMPLICIT, EXPLICIT), (JPEG_BASELINE, IMPLICIT)]
)
def test_s22_another_vr_encoding_than_declared_is_kept_and_flagged(
    node: RunningNode, syntax: str, real: str
) -> None:
    instance = declared(syntax, make_instance(real))
    assert store(node.address, instance).status == 0
    found = check_kept(node, instance)
    assert found.is_misdeclared
    assert found.values[Level.PATIENT]["patient_name"] == "Doe^Jane"


@pytest.mark.parametrize("syntax", [JPEG_BASELINE, JPEG_2000, RLE])
def test_s22_what_is_as_declared_is_not_flagged(node: RunningNode, syntax: str) -> None:
    made = make_instance(pixels=None)
    instance = declared(syntax, made, made.raw + encapsulated([bytes(100), bytes(50)]))
    assert store(node.address, instance).status == 0
    assert not check_kept(node, instance).is_misdeclared


def test_an_unknown_transfer_syntax_of_dicom_is_not_accepted(node: RunningNode) -> None:
    instance = declared(FUTURE_SYNTAX, make_instance())
    with RawSender.of(node.address, instance) as sender:
        assert sender.result(instance) == 4


def test_one_context_for_each_transfer_syntax_is_honoured(node: RunningNode) -> None:
    syntaxes = [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED]
    instances = [make_instance(syntax, SOPInstanceUID=unique_uid()) for syntax in syntaxes]
    with RawSender.of(node.address, *instances) as sender:
        assert list(sender.accepted.transfer_syntaxes.values()) == syntaxes
        for each in instances:
            assert sender.store(each).status == 0
    for each in instances:
        assert indexed(node, each.sop_instance_uid).key.transfer_syntax_uid == each.transfer_syntax_uid
        check_kept(node, each)


@pytest.mark.parametrize(
    ("proposed", "taken"),
    [
        ((RLE, EXPLICIT, BIG_ENDIAN, IMPLICIT), RLE),
        ((DEFLATED, EXPLICIT, IMPLICIT), DEFLATED),
        ((JPEG_2000, JPEG_BASELINE, EXPLICIT), JPEG_2000),
        ((EXPLICIT, RLE), EXPLICIT),
        ((BIG_ENDIAN, EXPLICIT, IMPLICIT), EXPLICIT),
        ((IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN), EXPLICIT),
        ((PRIVATE_SYNTAX, FUTURE_SYNTAX, RLE, IMPLICIT), RLE),
        ((IMPLICIT, BIG_ENDIAN), IMPLICIT),
        ((BIG_ENDIAN, IMPLICIT), BIG_ENDIAN),
    ],
)
def test_of_several_transfer_syntaxes_the_senders_first_is_taken_but_for_native_ones(
    node: RunningNode, proposed: tuple[str, ...], taken: str
) -> None:
    """A sender names first what it has: dcmsend would otherwise decompress what it sends."""
    with ScriptedPeer.connect(node.address) as peer:
        accepted = peer.associate([pdus.context(1, CT, *proposed)])
        assert accepted.transfer_syntaxes[1] == taken
        peer.release()
