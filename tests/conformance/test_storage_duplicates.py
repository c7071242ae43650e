"""A SOP Instance UID that arrives again (cases S8 to S10): identical, or in conflict, but never lost."""

import json
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.instances import (
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    MR,
    Instance,
    element,
    item,
    make_instance,
    unique_uid,
)
from support.kept import (
    archive_of,
    aside,
    check_kept,
    check_nothing_else,
    indexed,
    outcomes,
    path_of,
    stored_data_set,
)
from support.nodes import RunningNode, running_node
from support.raw_sender import RawSender, store

from pacslite.model.instances import DuplicatePolicy
from pacslite.settings.schema import ArchiveSettings

SENDERS = 16


def policy_node(folder: Path, policy: DuplicatePolicy) -> Any:
    return running_node(folder, archives=[ArchiveSettings(duplicate_policy=policy)])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node of the default policy, keep-first."""
    with running_node(tmp_path_factory.mktemp("node")) as running:
        yield running
        assert not running.loop_errors


def version(number: int, uid: str, **values: Any) -> Instance:
    """Return an instance of `uid` whose pixels are those of `number`."""
    names = {"StudyInstanceUID": f"{uid}.1", "SeriesInstanceUID": f"{uid}.2", **values}
    return make_instance(SOPInstanceUID=uid, pixels=bytes([number]) * 40_000, **names)


@pytest.mark.parametrize("policy", DuplicatePolicy)
def test_s8_the_same_again_is_success_and_no_second_copy(tmp_path: Path, policy: DuplicatePolicy) -> None:
    instance = make_instance(pixels=bytes(50_000))
    with policy_node(tmp_path, policy) as node:
        for calling in ("CT1", "CT1", "CT2"):
            assert store(node.address, instance, calling=calling).status == 0
        check_kept(node, instance, calling="CT1")
        assert outcomes(node, instance.sop_instance_uid) == ["stored", "identical", "identical"]
        assert aside(node, instance.sop_instance_uid) == []
        assert archive_of(node).reader.counts().instances == 1
        check_nothing_else(node)
        assert len(node.stored_paths()) == 1


@pytest.mark.parametrize("policy", DuplicatePolicy)
@pytest.mark.parametrize("is_missing", [True, False], ids=["missing", "damaged"])
def test_s8_a_resend_heals_what_the_disk_has_lost(
    tmp_path: Path, policy: DuplicatePolicy, *, is_missing: bool
) -> None:
    instance = make_instance(pixels=bytes(50_000))
    with policy_node(tmp_path, policy) as node:
        assert store(node.address, instance).status == 0
        path = path_of(node, indexed(node, instance.sop_instance_uid).file)
        whole = path.read_bytes()
        path.unlink() if is_missing else path.write_bytes(whole[:-1] + b"\xff")
        for _ in range(2):
            assert store(node.address, instance).status == 0
        assert stored_data_set(node, indexed(node, instance.sop_instance_uid).file) == instance.raw
        assert outcomes(node, instance.sop_instance_uid) == ["stored", "healed", "identical"]
        assert aside(node, instance.sop_instance_uid) == []
        check_nothing_else(node)
        assert len(node.stored_paths()) == 1


def sequence(syntax: str, *, is_defined: bool) -> bytes:
    """Return a Referenced Image Sequence of one item, of defined or undefined lengths."""
    content = element(0x0008_1150, "UI", b"1.2.3\0", syntax) + element(0x0008_1155, "UI", b"1.2.4\0", syntax)
    if is_defined:
        return item(content, syntax)
    order = ">" if syntax == BIG_ENDIAN else "<"
    start = struct.pack(f"{order}HHI", 0xFFFE, 0xE000, 0xFFFF_FFFF)
    return start + content + struct.pack(f"{order}HHI", 0xFFFE, 0xE00D, 0)


def encodings(uid: str) -> dict[str, Instance]:
    """Return one instance in many encodings."""

    def made(syntax: str, *, is_defined: bool = True, **choices: Any) -> Instance:
        names: dict[str, Any] = {"StudyInstanceUID": f"{uid}.1", "SeriesInstanceUID": f"{uid}.2"}
        extra = {
            0x0008_1140: ("SQ", sequence(EXPLICIT if syntax == DEFLATED else syntax, is_defined=is_defined))
        }
        given = {**extra, **choices.pop("extra", {})}
        return make_instance(syntax, SOPInstanceUID=uid, extra=given, **names, **choices)

    def undefined(syntax: str) -> Instance:
        whole = made(syntax, is_defined=False)
        length = len(sequence(syntax, is_defined=False))
        order = ">" if syntax == BIG_ENDIAN else "<"
        value = sequence(syntax, is_defined=False)
        before, after = whole.raw.split(value)
        assert before.endswith(struct.pack(f"{order}I", length))
        raw = before[:-4] + b"\xff" * 4 + value + struct.pack(f"{order}HHI", 0xFFFE, 0xE0DD, 0) + after
        return Instance(CT, uid, syntax, raw, whole.study_instance_uid, whole.series_instance_uid)

    return {
        "explicit": made(EXPLICIT),
        "implicit": made(IMPLICIT),
        "big endian": made(BIG_ENDIAN),
        "deflated": made(DEFLATED),
        "group lengths": made(EXPLICIT, extra={0x0008_0000: ("UL", struct.pack("<I", 99))}),
        "trailing padding": made(EXPLICIT, appended=element(0xFFFC_FFFC, "OB", bytes(64))),
        "undefined lengths": undefined(EXPLICIT),
        "undefined lengths, implicit": undefined(IMPLICIT),
        "undefined lengths, big endian": undefined(BIG_ENDIAN),
        "other padding": made(EXPLICIT, PatientName=b"Doe^Jane  "),
    }


@pytest.mark.parametrize("policy", DuplicatePolicy)
def test_s8_the_same_values_in_another_encoding_are_the_same(tmp_path: Path, policy: DuplicatePolicy) -> None:
    names = list(encodings("1.2"))
    with policy_node(tmp_path, policy) as node:
        for name in names[1:]:
            versions = encodings(unique_uid())
            for first, second in ((versions["explicit"], versions[name]),):
                assert store(node.address, first).status == 0
                assert store(node.address, second).status == 0
                check_kept(node, first)
                assert outcomes(node, first.sop_instance_uid) == ["stored", "identical"], name
        check_nothing_else(node)
        assert len(node.stored_paths()) == len(names) - 1


def test_s8_every_pair_of_encodings_is_the_same(node: RunningNode) -> None:
    uid = unique_uid()
    versions = encodings(uid)
    first = versions.pop("big endian")
    with RawSender.of(node.address, first, *versions.values()) as sender:
        assert sender.store(first).status == 0
        for name, each in versions.items():
            assert sender.store(each).status == 0, name
    assert outcomes(node, uid) == ["stored", *["identical"] * len(versions)]
    check_kept(node, first)
    check_nothing_else(node)


def test_s9_keep_first_keeps_the_newcomer_aside(node: RunningNode) -> None:
    uid = unique_uid()
    first, second, third = (version(number, uid, PatientName=f"Doe^{number}") for number in range(3))
    for each in (first, second, third, second):
        assert store(node.address, each).status == 0
    check_kept(node, first)
    assert aside(node, uid) == [("newcomer", second.raw), ("newcomer", third.raw)]
    # a resend of what is kept aside needs no further copy
    assert outcomes(node, uid) == ["stored", "kept-aside", "kept-aside", "identical"]
    (conflict, _) = archive_of(node).reader.conflicts(uid)
    assert "PatientName" in conflict["differing_keywords"]
    assert conflict["other_digest"] == indexed(node, uid).file.digest
    check_nothing_else(node)


def test_s9_replace_takes_the_newcomer_and_keeps_the_old_version_aside(tmp_path: Path) -> None:
    uid = unique_uid()
    first, second = version(1, uid), version(2, uid)
    with policy_node(tmp_path, DuplicatePolicy.REPLACE) as node:
        assert store(node.address, first, calling="CT1").status == 0
        assert store(node.address, second, calling="CT2").status == 0
        found = indexed(node, uid)
        assert stored_data_set(node, found.file) == second.raw
        assert found.calling_ae_title == "CT2"
        assert aside(node, uid) == [("replaced", first.raw)]
        assert store(node.address, first, calling="CT1").status == 0
        assert stored_data_set(node, indexed(node, uid).file) == first.raw
        # the version that came back is not kept twice
        assert aside(node, uid) == [("replaced", second.raw)]
        assert outcomes(node, uid) == ["stored", "replaced", "replaced"]
        assert archive_of(node).reader.counts().instances == 1
        check_nothing_else(node)
    with policy_node(tmp_path, DuplicatePolicy.REPLACE) as node:
        assert stored_data_set(node, indexed(node, uid).file) == first.raw
        assert aside(node, uid) == [("replaced", second.raw)]
        check_nothing_else(node)


def test_s9_replace_same_source_replaces_for_the_same_ae_title_only(tmp_path: Path) -> None:
    uid = unique_uid()
    first, second, third = (version(number, uid) for number in range(3))
    with policy_node(tmp_path, DuplicatePolicy.REPLACE_SAME_SOURCE) as node:
        assert store(node.address, first, calling="CT1").status == 0
        assert store(node.address, second, calling="CT2").status == 0
        check_kept(node, first, calling="CT1")
        assert aside(node, uid) == [("newcomer", second.raw)]
        assert store(node.address, third, calling="CT1").status == 0
        assert stored_data_set(node, indexed(node, uid).file) == third.raw
        assert aside(node, uid) == [("newcomer", second.raw), ("replaced", first.raw)]
        assert outcomes(node, uid) == ["stored", "kept-aside", "replaced"]
        check_nothing_else(node)


def test_s9_refuse_answers_0111_and_keeps_the_first(tmp_path: Path) -> None:
    uid = unique_uid()
    first, second = version(1, uid), version(2, uid)
    with policy_node(tmp_path, DuplicatePolicy.REFUSE) as node:
        with RawSender.of(node.address, first) as sender:
            assert sender.store(first).status == 0
            answer = sender.store(second)
            assert (answer.status, answer.comment) == (0x0111, "this SOP Instance is here with other content")
            assert sender.store(first).status == 0
        check_kept(node, first)
        assert aside(node, uid) == []
        assert outcomes(node, uid) == ["stored", "refused", "identical"]
        check_nothing_else(node)
        assert len(node.stored_paths()) == 1


@pytest.mark.parametrize(
    ("change", "keyword"),
    [
        ({"PatientName": "Roe^Jane"}, "PatientName"),
        ({"Rows": 9}, "Rows"),
        ({"PatientComments": "x"}, None),
    ],
    ids=["name", "rows", "another element"],
)
def test_s9_one_changed_value_is_other_content(
    node: RunningNode, change: dict[str, Any], keyword: str | None
) -> None:
    uid = unique_uid()
    first, second = version(1, uid), version(1, uid, **change)
    assert store(node.address, first).status == 0
    assert store(node.address, second).status == 0
    assert aside(node, uid) == [("newcomer", second.raw)]
    (conflict,) = archive_of(node).reader.conflicts(uid)
    assert keyword is None or keyword in conflict["differing_keywords"]


def test_s9_another_sop_class_is_other_content(node: RunningNode) -> None:
    uid = unique_uid()
    first, second = version(1, uid), version(1, uid, SOPClassUID=MR)
    assert store(node.address, first).status == 0
    assert store(node.address, second).status == 0
    check_kept(node, first)
    assert aside(node, uid) == [("newcomer", second.raw)]
    check_nothing_else(node)


def test_s9_one_instance_of_two_compressions_is_a_conflict(node: RunningNode) -> None:
    """Whether two compressions hold the same pixels is not for the archive to find out: both are kept."""
    uid = unique_uid()
    first = version(1, uid)
    second = Instance(CT, uid, "1.2.840.10008.1.2.4.90", first.raw[:-20] + bytes(20), "", "")
    assert store(node.address, first).status == 0
    assert store(node.address, second).status == 0
    assert aside(node, uid) == [("newcomer", second.raw)]


def race(node: RunningNode, instances: list[Instance]) -> Counter[int]:
    """Send each instance on an association of its own, all at once; return how often each status came."""
    barrier = threading.Barrier(len(instances))

    def send(number: int) -> int:
        instance = instances[number]
        with RawSender.of(node.address, instance, calling=f"CT{number % 2}") as sender:
            sender.peer.send(sender.command(instance) + sender.data(instance)[:-100])
            barrier.wait(20)
            sender.peer.send(sender.data(instance)[-100:])
            return sender.answer().status

    with ThreadPoolExecutor(len(instances)) as pool:
        return Counter(pool.map(send, range(len(instances))))


def check_keep_first(node: RunningNode, uid: str, statuses: Counter[int], contents: set[bytes]) -> None:
    assert statuses == {0: SENDERS}
    winner = stored_data_set(node, indexed(node, uid).file)
    assert [version for _, version in aside(node, uid)] == list(contents - {winner})
    assert Counter(outcomes(node, uid)) == {"stored": 1, "kept-aside": 1, "identical": SENDERS - 2}


def check_replace(node: RunningNode, uid: str, statuses: Counter[int], contents: set[bytes]) -> None:
    assert statuses == {0: SENDERS}
    winner = stored_data_set(node, indexed(node, uid).file)
    # however often they replaced each other, each content is there once
    assert [version for _, version in aside(node, uid)] == list(contents - {winner})
    recorded = Counter(outcomes(node, uid))
    assert recorded["stored"] == 1
    assert recorded["replaced"] > 0
    assert recorded["replaced"] + recorded["identical"] == SENDERS - 1


def check_replace_same_source(
    node: RunningNode, uid: str, statuses: Counter[int], contents: set[bytes]
) -> None:
    # each content comes from one source: whoever is first stays, the other is kept aside
    check_keep_first(node, uid, statuses, contents)


def check_refuse(node: RunningNode, uid: str, statuses: Counter[int], contents: set[bytes]) -> None:
    assert statuses == {0: SENDERS // 2, 0x0111: SENDERS // 2}
    assert stored_data_set(node, indexed(node, uid).file) in contents
    assert aside(node, uid) == []


CHECKS: dict[DuplicatePolicy, Callable[[RunningNode, str, Counter[int], set[bytes]], None]] = {
    DuplicatePolicy.KEEP_FIRST: check_keep_first,
    DuplicatePolicy.REPLACE: check_replace,
    DuplicatePolicy.REPLACE_SAME_SOURCE: check_replace_same_source,
    DuplicatePolicy.REFUSE: check_refuse,
}


@pytest.mark.parametrize("policy", DuplicatePolicy)
def test_s9_sixteen_senders_of_two_contents_make_one_winner(tmp_path: Path, policy: DuplicatePolicy) -> None:
    with policy_node(tmp_path, policy) as node:
        for _ in range(3):
            uid = unique_uid()
            versions = [version(1, uid), version(2, uid)]
            statuses = race(node, [versions[number % 2] for number in range(SENDERS)])
            CHECKS[policy](node, uid, statuses, {each.raw for each in versions})
        check_nothing_else(node)
        assert archive_of(node).reader.counts().instances == 3


def test_s8_sixteen_senders_of_one_content_in_two_encodings_make_one_copy(node: RunningNode) -> None:
    uid = unique_uid()
    versions = encodings(uid)
    pair = [versions["explicit"], versions["implicit"]]
    assert race(node, [pair[number % 2] for number in range(SENDERS)]) == {0: SENDERS}
    assert Counter(outcomes(node, uid)) == {"stored": 1, "identical": SENDERS - 1}
    assert aside(node, uid) == []
    assert stored_data_set(node, indexed(node, uid).file) in {each.raw for each in pair}
    check_nothing_else(node)


def test_s10_one_uid_in_two_studies_is_a_conflict(node: RunningNode) -> None:
    uid = unique_uid()
    first = version(1, uid)
    second = version(1, uid, StudyInstanceUID=unique_uid(), SeriesInstanceUID=unique_uid())
    assert store(node.address, first).status == 0
    before = archive_of(node).reader.counts()
    assert store(node.address, second).status == 0
    found = check_kept(node, first)
    assert found.study_instance_uid == first.study_instance_uid
    assert aside(node, uid) == [("newcomer", second.raw)]
    (conflict,) = archive_of(node).reader.conflicts(uid)
    assert conflict["study_instance_uid"] == second.study_instance_uid
    assert {"StudyInstanceUID", "SeriesInstanceUID"} <= set(json.loads(conflict["differing_keywords"]))
    # the second study is not there: it has no instance of the archive's
    assert archive_of(node).reader.study(second.study_instance_uid) is None
    after = archive_of(node).reader.counts()
    assert (after.studies, after.instances) == (before.studies, before.instances)
    check_nothing_else(node)


def test_s10_one_uid_in_two_series_is_a_conflict(node: RunningNode) -> None:
    uid = unique_uid()
    first, second = version(1, uid), version(1, uid, SeriesInstanceUID=unique_uid())
    for each in (first, second):
        assert store(node.address, each).status == 0
    assert check_kept(node, first).series_instance_uid == first.series_instance_uid
    assert aside(node, uid) == [("newcomer", second.raw)]
    assert archive_of(node).reader.series(second.series_instance_uid) == []


def test_s10_replace_moves_the_instance_and_its_counters(tmp_path: Path) -> None:
    uid, study = unique_uid(), unique_uid()
    stays = make_instance(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1")
    first = version(1, uid, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.2")
    second = version(2, uid, SOPClassUID=MR, Modality="MR")
    with policy_node(tmp_path, DuplicatePolicy.REPLACE) as node:
        reader = archive_of(node).reader
        for each in (stays, first, second):
            assert store(node.address, each).status == 0
        assert indexed(node, uid).study_instance_uid == second.study_instance_uid
        old, new = reader.study(study), reader.study(second.study_instance_uid)
        assert old is not None
        assert new is not None
        for row, modality in ((old, "CT"), (new, "MR")):
            assert row["number_of_study_related_instances"] == 1
            assert row["number_of_study_related_series"] == 1
            assert row["modalities_in_study"] == modality
        assert reader.series(first.series_instance_uid) == []
        assert reader.counts().instances == 2
        check_nothing_else(node)
