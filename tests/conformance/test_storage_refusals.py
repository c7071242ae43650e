"""C-STORE requests that are refused (PS3.4 B.2.3, PS3.7 9.1.1.1.9), and that nothing of them is kept.

Cases S2 to S6, S18, S19, S25 and S26 of the list of cases. A refusal costs the sender neither its association
nor its next instance: each test here sends one on the same association.
"""

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support import pdus
from support.instances import (
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    MR,
    Instance,
    deflated,
    element,
    encapsulated,
    make_instance,
    unique_uid,
)
from support.kept import archive_of, check_kept, check_nothing_else, unnamed_files, wait_until
from support.nodes import STORAGE, RunningNode, running_node
from support.raw_sender import Answer, RawSender, Syntax

from pacslite.settings.schema import ArchiveSettings

SOP_CLASS, SOP_INSTANCE = 0x0008_0016, 0x0008_0018
STUDY, SERIES = 0x0020_000D, 0x0020_000E
NATIVE = [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED]
PRIVATE_SYNTAX = "1.2.840.113619.5.2"
PRIVATE_CLASS = "1.2.826.0.1.3680043.8.498.99.1"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("node")) as running:
        yield running
        assert not running.loop_errors


def refused(
    node: RunningNode,
    instance: Instance,
    command: Mapping[int, bytes | None] | None = None,
    *,
    context: Syntax | None = None,
) -> Answer:
    """Send what is to be refused, then something that is not; return the refusal."""
    good = make_instance()
    before = archive_of(node).reader.counts()
    syntaxes = [(instance.sop_class_uid, instance.transfer_syntax_uid), (CT, EXPLICIT)]
    with RawSender(node.address, [*syntaxes, *([context] if context else [])]) as sender:
        answer = sender.store(instance, command, context=context)
        assert answer.status != 0
        assert archive_of(node).reader.counts() == before
        assert sender.store(good).status == 0
    assert archive_of(node).reader.instance(instance.sop_instance_uid) is None
    check_kept(node, good)
    check_nothing_else(node)
    return answer


@pytest.mark.parametrize("syntax", NATIVE)
def test_s2_another_sop_class_in_the_data_set_is_a901(node: RunningNode, syntax: str) -> None:
    sent = make_instance(syntax, SOPClassUID=MR)
    announced = Instance(
        CT, sent.sop_instance_uid, syntax, sent.raw, sent.study_instance_uid, sent.series_instance_uid
    )
    answer = refused(node, announced)
    assert answer.status == 0xA901
    assert answer.comment == "Data set is of another SOP Class than the command"
    assert answer.offending_tags == (SOP_CLASS,)


@pytest.mark.parametrize("syntax", NATIVE)
def test_s3_another_sop_instance_in_the_data_set_is_a900(node: RunningNode, syntax: str) -> None:
    other = unique_uid()
    sent = make_instance(syntax)
    answer = refused(node, sent, {0x1000: pdus.padded(other)})
    assert answer.status == 0xA900
    assert answer.offending_tags == (SOP_INSTANCE,)
    assert answer.sop_instance_uid == other
    assert archive_of(node).reader.instance(other) is None


def test_s2_s3_padding_of_uids_makes_no_difference(node: RunningNode) -> None:
    uid = unique_uid() + ("" if len(unique_uid()) % 2 else "1")
    instance = make_instance(SOPInstanceUID=uid)
    with RawSender.of(node.address, instance) as sender:
        raw = uid.encode()
        assert sender.store(instance, {0x1000: raw + b" " * (2 - len(raw) % 2)}).status == 0
    check_kept(node, instance)


def test_s4_a_command_of_another_class_than_its_context_is_0122(node: RunningNode) -> None:
    sent = make_instance(SOPClassUID=MR)
    answer = refused(node, sent, context=(CT, EXPLICIT))
    assert answer.status == 0x0122


def test_s4_a_command_without_class_is_0122(node: RunningNode) -> None:
    assert refused(node, make_instance(), {0x0002: None}).status == 0x0122


@pytest.mark.parametrize("value", [None, b"", b"\0\0", b"  "], ids=["missing", "empty", "nul", "spaces"])
@pytest.mark.parametrize(
    ("keyword", "tag"),
    [
        ("SOPClassUID", SOP_CLASS),
        ("SOPInstanceUID", SOP_INSTANCE),
        ("StudyInstanceUID", STUDY),
        ("SeriesInstanceUID", SERIES),
    ],
)
def test_s5_a_missing_or_empty_uid_is_c000(
    node: RunningNode, keyword: str, tag: int, value: bytes | None
) -> None:
    fault: dict[str, Any] = {keyword: value}
    sent = make_instance(**fault)
    uid = unique_uid() if keyword == "SOPInstanceUID" else sent.sop_instance_uid
    announced = Instance(CT, uid, EXPLICIT, sent.raw, "", "")
    answer = refused(node, announced)
    assert answer.status == 0xC000
    assert answer.offending_tags == (tag,)
    assert answer.comment.endswith("is missing or empty")


@pytest.mark.parametrize("value", [None, b""], ids=["missing", "empty"])
def test_s5_a_command_without_sop_instance_uid_is_c000(node: RunningNode, value: bytes | None) -> None:
    answer = refused(node, make_instance(), {0x1000: value})
    assert (answer.status, answer.offending_tags) == (0xC000, (SOP_INSTANCE,))
    assert answer.sop_instance_uid == ""


def broken_data_sets() -> dict[str, tuple[str, bytes]]:
    """Return transfer syntax and bytes of data sets that do not parse."""
    whole = make_instance(pixels=bytes(5000)).raw
    implicit = make_instance(IMPLICIT, pixels=bytes(5000)).raw
    big = make_instance(BIG_ENDIAN, pixels=bytes(5000)).raw
    stream = deflated(whole)
    fragments = make_instance(pixels=None).raw + encapsulated([bytes(400)])
    return {
        "cut off in the header": (EXPLICIT, whole[:101]),
        "cut off in an element header": (EXPLICIT, whole[: whole.index(b"\xe0\x7f") + 5]),
        "cut off in the pixel data": (EXPLICIT, whole[:-1]),
        "cut off, implicit": (IMPLICIT, implicit[:-100]),
        "cut off, big endian": (BIG_ENDIAN, big[:-100]),
        "cut off, deflated": (DEFLATED, stream[: len(stream) // 2]),
        "cut off in a fragment": (JPEG_BASELINE, fragments[:-200]),
        "without sequence delimiter": (JPEG_BASELINE, fragments[:-8]),
        "HTML": (EXPLICIT, b"<html><body>Not found</body></html>"),
        "noise": (EXPLICIT, bytes(range(1, 256)) * 40),
        "ones": (IMPLICIT, b"\xff" * 4096),
        "zeros": (EXPLICIT, bytes(4096)),
        "zlib in place of deflate": (DEFLATED, zlib.compress(whole)),
        "not deflated": (DEFLATED, whole),
        "length beyond the end": (EXPLICIT, whole + element(0x7FE1_0010, "OB", b"", length=0xFFFF_FFFE)),
        "one byte": (EXPLICIT, b"\x08"),
    }


@pytest.mark.parametrize("fault", sorted(broken_data_sets()))
def test_s6_a_data_set_that_does_not_parse_is_c000(node: RunningNode, fault: str) -> None:
    syntax, raw = broken_data_sets()[fault]
    answer = refused(node, Instance(CT, unique_uid(), syntax, raw, "", ""))
    assert answer.status == 0xC000
    assert answer.comment


def test_s6_an_unparsable_data_set_is_kept_aside_if_configured(tmp_path: Path) -> None:
    storage = STORAGE.model_copy(update={"keep_unparsable": True})
    whole = make_instance(pixels=bytes(100_000))
    cut = Instance(CT, whole.sop_instance_uid, EXPLICIT, whole.raw[:-7], "", "")
    with running_node(tmp_path, storage=storage) as node:
        assert refused(node, cut).status == 0xC000
        folder = tmp_path / "archives" / "main" / "unparsable"
        (kept,) = folder.iterdir()
        assert kept.read_bytes().endswith(cut.raw)
        assert folder.stat().st_mode & 0o077 == 0
        check_nothing_else(node)


def test_s18_an_unknown_sop_class_is_not_accepted_by_default(node: RunningNode) -> None:
    instance = make_instance(SOPClassUID=PRIVATE_CLASS)
    with RawSender.of(node.address, instance) as sender:
        assert sender.result(instance) == 3


def test_s18_an_unknown_sop_class_is_kept_where_the_archive_takes_it(tmp_path: Path) -> None:
    archive = ArchiveSettings(accept_unknown_sop_classes=True)
    instance = make_instance(SOPClassUID=PRIVATE_CLASS)
    with running_node(tmp_path, archives=[archive]) as node:
        with RawSender.of(node.address, instance) as sender:
            assert sender.store(instance).status == 0
        assert check_kept(node, instance).study_instance_uid == instance.study_instance_uid


def test_s18_what_is_no_storage_is_not_taken_for_an_unknown_class(tmp_path: Path) -> None:
    archive = ArchiveSettings(accept_unknown_sop_classes=True)
    study_root_find = "1.2.840.10008.5.1.4.1.2.2.1"
    with (
        running_node(tmp_path, archives=[archive]) as node,
        RawSender(node.address, [(study_root_find, IMPLICIT)]) as sender,
    ):
        assert list(sender.accepted.results.values()) == [3]


def test_s19_a_private_transfer_syntax_is_not_accepted_by_default(node: RunningNode) -> None:
    instance = make_instance(PRIVATE_SYNTAX)
    with RawSender.of(node.address, instance) as sender:
        assert sender.result(instance) == 4


def test_s19_a_private_transfer_syntax_passes_where_the_archive_takes_it(tmp_path: Path) -> None:
    archive = ArchiveSettings(private_transfer_syntaxes=[PRIVATE_SYNTAX])
    implicit = make_instance(IMPLICIT)
    instance = Instance(
        CT,
        implicit.sop_instance_uid,
        PRIVATE_SYNTAX,
        implicit.raw,
        implicit.study_instance_uid,
        implicit.series_instance_uid,
    )
    with running_node(tmp_path, archives=[archive]) as node:
        with RawSender.of(node.address, instance) as sender:
            assert sender.store(instance).status == 0
        check_kept(node, instance)


def test_s25_an_empty_data_set_is_c000(node: RunningNode) -> None:
    answer = refused(node, Instance(CT, unique_uid(), EXPLICIT, b"", "", ""))
    assert (answer.status, answer.comment) == (0xC000, "the data set is empty")


def test_s25_no_data_set_is_0106(node: RunningNode) -> None:
    instance, good = make_instance(), make_instance()
    with RawSender.of(node.address, instance) as sender:
        sender.peer.send(sender.command(instance, {0x0800: pdus.us(pdus.NO_DATA_SET)}))
        answer = sender.answer()
        assert (answer.status, answer.comment) == (0x0106, "a C-STORE request has a data set")
        assert sender.store(good).status == 0
    assert archive_of(node).reader.instance(instance.sop_instance_uid) is None
    check_nothing_else(node)


BAD_UIDS = {
    "climbing": b"../../../../tmp/x",
    "absolute": b"/tmp/pacslite-x",
    "nul inside": b"1.2\x003.4",
    "newline": b"1.2\n3.4",
    "carriage return": b"1.2.3\r\nlevel=error",
    "64 dots": b"." * 64,
    "two dots": b"..",
    "unicode": "1.2.\uff13".encode(),
    "latin-1": b"1.2.\xe9",
    "65 digits": b"1." + b"2" * 63,
    "4000 digits": b"1." + b"2" * 3998,
    "letters": b"1.2.3.a",
    "backslash": b"1.2\\1.3",
    "wildcard": b"1.2.*",
    "quote": b"1.2'; DROP TABLE instance; --",
    "dash": b"-rf",
    "sealed": b"sealed",
}


@pytest.mark.parametrize("fault", sorted(BAD_UIDS))
def test_s26_a_uid_that_is_none_leaves_nothing_anywhere(
    tmp_path: Path, node: RunningNode, fault: str
) -> None:
    uid = BAD_UIDS[fault]
    before = set(tmp_path.parent.rglob("*"))
    sent = make_instance(SOPInstanceUID=uid)
    announced = Instance(CT, unique_uid(), EXPLICIT, sent.raw, "", "")
    answer = refused(node, announced, {0x1000: uid})
    assert (answer.status, answer.offending_tags) == (0xC000, (SOP_INSTANCE,))
    here = {path for path in set(tmp_path.parent.rglob("*")) - before if path.suffix != ".dcm"}
    assert not [path for path in here if not path.is_relative_to(node.settings.data_folder)]
    assert not Path("/tmp/x").exists()
    assert not Path("/tmp/pacslite-x").exists()


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
@pytest.mark.parametrize("fault", sorted(BAD_UIDS))
def test_s26_a_uid_in_the_data_set_that_is_none_is_c000(node: RunningNode, keyword: str, fault: str) -> None:
    value: dict[str, Any] = {keyword: BAD_UIDS[fault]}
    sent = make_instance(**value)
    uid = unique_uid() if keyword == "SOPInstanceUID" else sent.sop_instance_uid
    answer = refused(node, Instance(CT, uid, EXPLICIT, sent.raw, "", ""))
    assert answer.status == 0xC000


def test_s26_uids_with_leading_zeros_and_empty_components_are_kept(node: RunningNode) -> None:
    for uid in ("1.2.003.4." + unique_uid(), "1..2." + unique_uid()):
        instance = make_instance(SOPInstanceUID=uid)
        with RawSender.of(node.address, instance) as sender:
            assert sender.store(instance).status == 0
        check_kept(node, instance)


def test_s26_a_context_of_a_class_that_is_no_uid_harms_nobody(node: RunningNode) -> None:
    with RawSender(node.address, [("../../x", EXPLICIT), (CT, "../../y"), (CT, EXPLICIT)]) as sender:
        first, second, third = sender.accepted.results.values()
        assert first
        assert second
        assert third == 0
        good = make_instance()
        assert sender.store(good).status == 0
    check_kept(node, good)


def test_an_abort_amid_the_data_set_leaves_nothing(node: RunningNode) -> None:
    instance = make_instance(pixels=bytes(3_000_000))
    before = archive_of(node).reader.counts()
    sender = RawSender.of(node.address, instance)
    sender.peer.send(sender.command(instance) + b"".join(sender.data_pdus(instance)[:20]))
    wait_until(lambda: unnamed_files(node) != set(), "nothing was written")
    sender.peer.send(pdus.abort())
    sender.peer.close()
    check_nothing_else(node)
    assert archive_of(node).reader.counts() == before
