"""What the index makes of receipts, on both databases."""

import json
import threading
from dataclasses import replace

import pytest
from support.index import CT, IMPLICIT, MR, Index, make_entry

from pacslite.index.entries import Comparison
from pacslite.model.attributes import Level
from pacslite.model.instances import DuplicatePolicy, Outcome


def study_of(index: Index, uid: str = "1.2.3.1") -> dict[str, object]:
    record = index.reader.study(uid)
    assert record is not None
    return dict(record)


def test_s1_a_new_instance_is_found_with_all_that_was_said(index: Index) -> None:
    entry = make_entry(StudyDescription="Thorax", InstanceNumber="7")
    assert index.receive(entry).outcome is Outcome.STORED
    found = index.reader.instance(entry.key.sop_instance_uid)
    assert found is not None
    assert (found.key, found.file) == (entry.key, entry.file)
    assert (found.study_instance_uid, found.series_instance_uid) == ("1.2.3.1", "1.2.3.1.1")
    assert (found.calling_ae_title, found.availability) == ("MODALITY", "ONLINE")
    assert found.received_at == entry.provenance.received_at
    assert found.values[Level.PATIENT]["patient_name"] == "Doe^Jane"
    assert found.values[Level.STUDY]["study_description"] == "Thorax"
    assert found.values[Level.SERIES]["modality"] == "CT"
    assert found.values[Level.INSTANCE]["instance_number"] == 7


def test_an_unknown_instance_is_none(index: Index) -> None:
    assert index.reader.instance("1.2.3") is None
    assert index.reader.study("1.2.3") is None


def test_counters_and_collected_values_follow_each_receipt(index: Index) -> None:
    index.receive(make_entry("1.1"))
    index.receive(make_entry("1.2"))
    index.receive(make_entry("1.3", series="1.2.3.1.2", Modality="SR", sop_class=MR))
    index.receive(make_entry("1.4", series="1.2.3.1.3", Modality="CT"))
    study = study_of(index)
    assert study["number_of_study_related_series"] == 3
    assert study["number_of_study_related_instances"] == 4
    assert study["modalities_in_study"] == "CT\\SR"
    assert study["sop_classes_in_study"] == f"{CT}\\{MR}"
    assert index.reader.series("1.2.3.1.1")[0]["number_of_series_related_instances"] == 2


def test_a_group_of_receipts_counts_like_single_ones(index: Index) -> None:
    futures = [index.submit(make_entry(f"1.{number}", series=f"2.{number % 3}")) for number in range(1, 41)]
    assert {future.result(timeout=20).outcome for future in futures} == {Outcome.STORED}
    assert study_of(index)["number_of_study_related_instances"] == 40
    assert study_of(index)["number_of_study_related_series"] == 3
    assert index.reader.series("2.1")[0]["number_of_series_related_instances"] == 14


def test_s7_instances_without_patient_id_never_share_a_patient_across_studies(index: Index) -> None:
    for study in ("2.1", "2.2"):
        for number in (1, 2):
            uid = f"{study}.{number}"
            index.receive(make_entry(uid, study=study, series=f"{study}.9", PatientID=" ", PatientName="X"))
    counts = index.reader.counts()
    assert (counts.patients, counts.studies, counts.instances) == (2, 2, 4)
    assert study_of(index, "2.1")["patient_id"] is None


def test_m28_one_patient_id_of_two_issuers_is_two_patients(index: Index) -> None:
    index.receive(make_entry("1.1", study="2.1", IssuerOfPatientID="A"))
    index.receive(make_entry("1.2", study="2.2", IssuerOfPatientID="B"))
    index.receive(make_entry("1.3", study="2.3", IssuerOfPatientID="A "))
    assert [patient["issuer_of_patient_id"] for patient in index.reader.patients("P1")] == ["A", "B"]


def test_s27_over_long_patient_ids_with_one_beginning_are_two_patients(index: Index) -> None:
    long = "9" * 5000
    index.receive(make_entry("1.1", study="2.1", PatientID=long + "1"))
    index.receive(make_entry("1.2", study="2.2", PatientID=long + "2"))
    patients = index.reader.patients("9" * 512)
    assert len(patients) == 2


def test_s27_over_long_values_are_indexed_by_their_beginning(index: Index) -> None:
    entry = make_entry(PatientName="Ä" * 9000, PatientComments="c" * 20_000, StationName="s\\" * 9000)
    assert index.receive(entry).outcome is Outcome.STORED
    assert study_of(index)["patient_name"] == "Ä" * 512


def test_s11_a_study_keeps_its_first_patient_and_the_mismatch_is_noted(index: Index) -> None:
    index.receive(make_entry("1.1"))
    index.receive(make_entry("1.2", PatientID="P2", PatientName="Roe^Richard"))
    index.receive(make_entry("1.3", PatientID="P2", PatientName="Roe^Richard"))
    assert index.reader.counts().patients == 1
    assert study_of(index)["patient_id"] == "P1"
    assert study_of(index)["number_of_study_related_instances"] == 3
    noted = {
        (row["level"], row["keyword"], row["kept_value"], row["received_value"])
        for row in index.reader.discrepancies()
    }
    assert noted == {
        ("STUDY", "PatientID", "P1", "P2"),
        ("STUDY", "PatientName", "Doe^Jane", "Roe^Richard"),
    }
    assert {row["sop_instance_uid"] for row in index.reader.discrepancies()} == {"1.2"}


def test_s12_differing_demographics_are_noted_once_and_change_nothing(index: Index) -> None:
    index.receive(make_entry("1.1", study="2.1", PatientSex="F"))
    for number in range(2, 6):
        index.receive(make_entry(f"1.{number}", study=f"2.{number}", PatientSex="M"))
    (row,) = index.reader.discrepancies()
    assert (row["level"], row["keyword"], row["kept_value"], row["received_value"]) == (
        "PATIENT",
        "PatientSex",
        "F",
        "M",
    )
    assert index.reader.patients("P1")[0]["patient_sex"] == "F"


def test_s12_a_discrepancy_is_noted_once_across_restarts(index: Index) -> None:
    index.receive(make_entry("1.1", StudyDescription="A"))
    index.receive(make_entry("1.2", StudyDescription="B"))
    again = Index(index.url)
    again.receive(make_entry("1.3", StudyDescription="B"))
    again.receive(make_entry("1.4", StudyDescription=""))
    again.close()
    assert [row["received_value"] for row in index.reader.discrepancies()] == ["B", ""]


def test_s12_changed_demographics_are_refused_where_that_is_wanted(index: Index) -> None:
    index.receive(make_entry("1.1", study="2.1", PatientSex="F"))
    changed = make_entry("1.2", study="2.2", PatientSex="M")
    recorded = index.receive(replace(changed, refuses_changed_demographics=True))
    assert (recorded.outcome, recorded.differing_tags) == (Outcome.REFUSED_PATIENT, (0x0010_0040,))
    assert index.reader.instance("1.2") is None
    assert index.reader.study("2.2") is None
    (row,) = index.reader.discrepancies()
    assert (row["keyword"], row["received_value"], row["sop_instance_uid"]) == ("PatientSex", "M", "1.2")
    unchanged = make_entry("1.3", study="2.3", PatientSex="F", PatientName="DOE^JANE")
    recorded = index.receive(replace(unchanged, refuses_changed_demographics=True))
    assert recorded.outcome is Outcome.STORED


def test_discrepancies_of_one_attribute_are_bounded(index: Index) -> None:
    for number in range(100):
        index.receive(make_entry(f"1.{number}", SeriesDescription=f"Phase {number}"))
    rows = index.reader.discrepancies()
    assert len(rows) == 16
    assert index.reader.series("1.2.3.1.1")[0]["series_description"] == "Phase 0"


def test_the_same_values_in_another_encoding_are_no_discrepancy(index: Index) -> None:
    index.receive(make_entry("1.1", PatientName="Doe^Jane"))
    index.receive(make_entry("1.2", PatientName="Doe^Jane^^ "))
    assert index.reader.discrepancies() == []


def test_one_series_uid_in_two_studies_is_two_series(index: Index) -> None:
    index.receive(make_entry("1.1", study="2.1"))
    index.receive(make_entry("1.2", study="2.2"))
    assert len(index.reader.series("1.2.3.1.1")) == 2


def test_s8_equal_digests_in_one_transfer_syntax_are_identical(index: Index) -> None:
    first, second = make_entry(), make_entry()
    index.receive(first)
    recorded = index.receive(second)
    assert (recorded.outcome, recorded.existing) == (Outcome.IDENTICAL, first.file)
    assert index.reader.counts().instances == 1
    assert study_of(index)["number_of_study_related_instances"] == 1
    outcomes = [receipt["outcome"] for receipt in index.reader.receipts("1.2.3.1.1.1")]
    assert outcomes == ["stored", "identical"]


def test_s8_equal_digests_in_two_transfer_syntaxes_are_compared(index: Index) -> None:
    first = make_entry()
    index.receive(first)
    recorded = index.submit(make_entry(transfer_syntax=IMPLICIT)).result(timeout=20)
    assert recorded.outcome is None
    assert (recorded.existing, recorded.existing_transfer_syntax_uid) == (
        first.file,
        first.key.transfer_syntax_uid,
    )


def test_s8_equal_content_with_other_bytes_is_identical(index: Index) -> None:
    first = make_entry()
    index.receive(first)
    verdict = Comparison(first.file.digest, is_same_content=True)
    recorded = index.submit(replace(make_entry(content="b"), comparison=verdict)).result(timeout=20)
    assert recorded.outcome is Outcome.IDENTICAL


def test_a_comparison_with_a_version_that_is_no_longer_current_is_asked_for_again(index: Index) -> None:
    index.receive(make_entry(content="a"))
    verdict = Comparison("0" * 32, is_same_content=True)
    entry = replace(make_entry(content="b"), comparison=verdict)
    recorded = index.submit(entry).result(timeout=20)
    assert recorded.outcome is None
    assert [receipt["outcome"] for receipt in index.reader.receipts(entry.key.sop_instance_uid)] == ["stored"]


def test_s9_keep_first_keeps_the_newcomer_aside_with_its_evidence(index: Index) -> None:
    first = make_entry(content="a", InstanceNumber="1")
    second = make_entry(content="b", InstanceNumber="2", StudyID="S", sender="OTHER")
    index.receive(first)
    recorded = index.receive(second)
    assert (recorded.outcome, recorded.existing) == (Outcome.KEPT_ASIDE, first.file)
    (row,) = index.reader.conflicts("1.2.3.1.1.1")
    assert (row["role"], row["path"], row["digest"]) == ("newcomer", second.file.path, second.file.digest)
    assert row["other_digest"] == first.file.digest
    assert set(json.loads(row["differing_keywords"])) == {"InstanceNumber", "StudyID"}
    assert index.reader.receipts("1.2.3.1.1.1")[1]["pk"] == row["receipt_pk"]
    assert index.reader.receipts("1.2.3.1.1.1")[1]["calling_ae_title"] == "OTHER"
    found = index.reader.instance("1.2.3.1.1.1")
    assert found is not None
    assert found.file == first.file
    assert index.reader.discrepancies() == []


def test_s9_a_version_that_is_aside_already_needs_no_second_file(index: Index) -> None:
    index.receive(make_entry(content="a"))
    aside = make_entry(content="b")
    index.receive(aside)
    recorded = index.receive(make_entry(content="b"))
    assert (recorded.outcome, recorded.existing) == (Outcome.IDENTICAL, aside.file)
    assert index.reader.counts().conflicts == 1


def test_s9_refuse_records_the_receipt_and_nothing_else(index: Index) -> None:
    first = make_entry(content="a")
    index.receive(first)
    recorded = index.receive(make_entry(content="b", policy=DuplicatePolicy.REFUSE))
    assert (recorded.outcome, recorded.existing) == (Outcome.REFUSED, first.file)
    assert index.reader.counts().conflicts == 0
    assert index.reader.named_paths("node1/") == {first.file.path}
    assert index.reader.receipts("1.2.3.1.1.1")[1]["outcome"] == "refused"


@pytest.mark.parametrize(
    ("policy", "sender", "outcome"),
    [
        (DuplicatePolicy.REPLACE, "OTHER", Outcome.REPLACED),
        (DuplicatePolicy.REPLACE_SAME_SOURCE, "MODALITY", Outcome.REPLACED),
        (DuplicatePolicy.REPLACE_SAME_SOURCE, "OTHER", Outcome.KEPT_ASIDE),
    ],
)
def test_s9_who_may_replace(index: Index, policy: DuplicatePolicy, sender: str, outcome: Outcome) -> None:
    index.receive(make_entry(content="a"))
    assert index.receive(make_entry(content="b", policy=policy, sender=sender)).outcome is outcome


def test_s9_the_replaced_version_is_kept_aside_with_its_own_receipt(index: Index) -> None:
    first = make_entry(content="a", InstanceNumber="1")
    second = make_entry(content="b", InstanceNumber="2", policy=DuplicatePolicy.REPLACE)
    index.receive(first)
    recorded = index.receive(second)
    assert (recorded.outcome, recorded.existing) == (Outcome.REPLACED, first.file)
    (row,) = index.reader.conflicts("1.2.3.1.1.1")
    assert (row["role"], row["path"], row["digest"]) == ("replaced", first.file.path, first.file.digest)
    assert (row["other_digest"], json.loads(row["differing_keywords"])) == (
        second.file.digest,
        ["InstanceNumber"],
    )
    assert row["receipt_pk"] == index.reader.receipts("1.2.3.1.1.1")[0]["pk"]
    found = index.reader.instance("1.2.3.1.1.1")
    assert found is not None
    assert (found.file, found.values[Level.INSTANCE]["instance_number"]) == (second.file, 2)
    assert study_of(index)["number_of_study_related_instances"] == 1


def test_s9_versions_replace_each_other_as_often_as_they_come(index: Index) -> None:
    for content in ("a", "b", "a"):
        index.receive(make_entry(content=content, policy=DuplicatePolicy.REPLACE))
    found = index.reader.instance("1.2.3.1.1.1")
    assert found is not None
    assert found.file.digest.endswith("a")
    # the version that came back is not aside any longer
    assert [row["digest"][-1] for row in index.reader.conflicts("1.2.3.1.1.1")] == ["b"]


def test_s10_the_same_uid_in_another_study_is_a_conflict(index: Index) -> None:
    index.receive(make_entry(content="a"))
    recorded = index.receive(make_entry(content="b", study="9.1", series="9.1.1"))
    assert recorded.outcome is Outcome.KEPT_ASIDE
    (row,) = index.reader.conflicts("1.2.3.1.1.1")
    assert (row["study_instance_uid"], row["series_instance_uid"]) == ("9.1", "9.1.1")
    assert set(json.loads(row["differing_keywords"])) == {"StudyInstanceUID", "SeriesInstanceUID"}
    assert index.reader.study("9.1") is None


def test_s10_a_replacement_in_another_study_takes_its_counts_along(index: Index) -> None:
    index.receive(make_entry("1.1", content="a", sop_class=MR, series="7.1", Modality="MR"))
    index.receive(make_entry("1.2"))
    moved = make_entry("1.1", content="b", study="9.1", series="9.1.1", policy=DuplicatePolicy.REPLACE)
    assert index.receive(moved).outcome is Outcome.REPLACED
    left, joined = study_of(index), study_of(index, "9.1")
    assert left["number_of_study_related_instances"] == left["number_of_study_related_series"] == 1
    assert (left["modalities_in_study"], left["sop_classes_in_study"]) == ("CT", CT)
    assert joined["number_of_study_related_instances"] == joined["number_of_study_related_series"] == 1
    assert (joined["modalities_in_study"], joined["sop_classes_in_study"]) == ("CT", CT)
    assert index.reader.series("7.1") == []


def test_s10_a_study_and_a_patient_left_empty_are_removed_and_can_come_back(index: Index) -> None:
    index.receive(make_entry("1.1", content="a"))
    index.receive(make_entry("1.1", content="b", study="9.1", PatientID="P9", policy=DuplicatePolicy.REPLACE))
    assert index.reader.study("1.2.3.1") is None
    assert index.reader.patients("P1") == []
    assert index.receive(make_entry("1.2")).outcome is Outcome.STORED
    assert study_of(index)["number_of_study_related_instances"] == 1
    assert index.reader.discrepancies() == []


def test_discrepancies_go_with_what_they_were_about(index: Index) -> None:
    index.receive(make_entry("1.1", StudyID="A", StationName="A", PatientSex="F"))
    index.receive(make_entry("1.2", StudyID="B", StationName="B", PatientSex="M"))
    assert index.reader.counts().discrepancies == 3
    for uid in ("1.1", "1.2"):
        moved = make_entry(uid, content="b", study="9.1", PatientID="P9", policy=DuplicatePolicy.REPLACE)
        index.receive(moved)
    assert index.reader.counts().discrepancies == 0


def test_replacement_and_new_instances_of_one_study_count_right_in_one_group(index: Index) -> None:
    index.receive(make_entry("1.0", content="a"))
    gate = threading.Event()
    blocker = index.writer.submit(lambda _: gate.wait(timeout=20))
    verdict = Comparison(make_entry("1.0", content="a").file.digest, is_same_content=False)
    entries = [make_entry(f"1.{number}", series="7.1") for number in range(1, 6)]
    moved = make_entry("1.0", content="b", series="7.1", policy=DuplicatePolicy.REPLACE)
    entries.insert(3, replace(moved, comparison=verdict))
    futures = [index.submit(entry) for entry in entries]
    gate.set()
    assert blocker.result(timeout=20)
    assert Outcome.REPLACED in {future.result(timeout=20).outcome for future in futures}
    study = study_of(index)
    assert (study["number_of_study_related_series"], study["number_of_study_related_instances"]) == (1, 6)
    assert index.reader.series("7.1")[0]["number_of_series_related_instances"] == 6


def test_a_receipt_that_was_committed_in_doubt_and_comes_again_keeps_its_file(index: Index) -> None:
    entry = make_entry()
    assert index.receive(entry).outcome is Outcome.STORED
    assert index.receive(entry).outcome is Outcome.STORED
    assert study_of(index)["number_of_study_related_instances"] == 1


def test_s13_concurrent_first_instances_make_one_patient_and_one_study(index: Index) -> None:
    start = threading.Barrier(4)
    outcomes: list[Outcome | None] = []

    def send(sender: int) -> None:
        start.wait(timeout=20)
        for number in range(25):
            entry = make_entry(f"1.{sender}.{number}", series=f"2.{number % 2}")
            outcomes.append(index.submit(entry).result(timeout=20).outcome)

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [Outcome.STORED] * 100
    counts = index.reader.counts()
    assert (counts.patients, counts.studies, counts.series, counts.instances) == (1, 1, 2, 100)
    assert study_of(index)["number_of_study_related_instances"] == 100


def test_concurrent_receipts_of_one_uid_leave_one_instance(index: Index) -> None:
    futures = [index.submit(make_entry(content=f"{number % 2}")) for number in range(8)]
    outcomes = [future.result(timeout=20).outcome for future in futures]
    assert outcomes[0] is Outcome.STORED
    assert outcomes.count(Outcome.STORED) == 1
    assert index.reader.counts().instances == 1


def test_s24_the_receipt_names_the_move_originator(index: Index) -> None:
    entry = make_entry()
    origin = replace(
        entry.provenance,
        move_originator_ae_title="WORKSTATION\0",
        move_originator_message_id=7,
        implementation_version_name="TOO LONG FOR THE STANDARD",
    )
    index.receive(replace(entry, provenance=origin))
    (receipt,) = index.reader.receipts(entry.key.sop_instance_uid)
    assert (receipt["move_originator_ae_title"], receipt["move_originator_message_id"]) == ("WORKSTATION", 7)
    assert receipt["implementation_version_name"] == "TOO LONG FOR THE"
    assert receipt["received_at"] == entry.provenance.received_at


def test_hostile_text_is_kept_as_text(index: Index) -> None:
    entry = make_entry(PatientName="Robert'); DROP TABLE patient;--\0\x07\n%_", StudyID="a\0b")
    index.receive(entry)
    assert study_of(index)["patient_name"] == "Robert'); DROP TABLE patient;--  %_"
    assert study_of(index)["study_id"] == "ab"


def test_named_paths_are_those_of_instances_and_conflicts_below_a_prefix(index: Index) -> None:
    first, second = make_entry(content="a"), make_entry(content="b")
    index.receive(first)
    index.receive(second)
    assert index.reader.named_paths("node1/0001/") == {first.file.path, second.file.path}
    assert index.reader.named_paths(first.file.path) == {first.file.path}
    assert index.reader.named_paths("node2/") == set()
