"""Instances that say otherwise of a known patient, and an archive that refuses them (case S12)."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from support.instances import make_instance, unique_uid
from support.kept import archive_of, check_kept, check_nothing_else
from support.nodes import RunningNode, running_node
from support.raw_sender import store

from pacslite.settings.schema import ArchiveSettings

KNOWN_PATIENT: Final[dict[str, Any]] = {
    "PatientName": "Doe^Jane",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node that refuses instances which say otherwise of a known patient."""
    archives = [ArchiveSettings(refuse_changed_demographics=True)]
    with running_node(tmp_path_factory.mktemp("strict"), archives=archives) as running:
        yield running
        assert not running.loop_errors


@pytest.mark.parametrize(
    ("changed", "tags"),
    [
        ({"PatientName": "Roe^Rick"}, (0x0010_0010,)),
        ({"PatientBirthDate": "19700102"}, (0x0010_0030,)),
        ({"PatientSex": "M", "PatientName": "Roe^Rick"}, (0x0010_0010, 0x0010_0040)),
    ],
    ids=["name", "birth date", "sex and name"],
)
def test_s12_changed_demographics_can_be_refused(
    node: RunningNode, changed: dict[str, Any], tags: tuple[int, ...]
) -> None:
    patient_id = unique_uid()
    assert store(node.address, make_instance(PatientID=patient_id, **KNOWN_PATIENT)).status == 0
    other = make_instance(PatientID=patient_id, **{**KNOWN_PATIENT, **changed})
    answer = store(node.address, other)
    assert (answer.status, sorted(answer.offending_tags)) == (0xA779, sorted(tags))
    assert answer.comment == "name, birth date or sex are not those of this Patient ID"
    reader = archive_of(node).reader
    assert reader.instance(other.sop_instance_uid) is None
    assert reader.study(other.study_instance_uid) is None
    (patient,) = reader.patients(patient_id)
    assert patient["patient_name"] == "Doe^Jane"
    # a keeper finds out why
    noted = {
        row["keyword"] for row in reader.discrepancies() if row["sop_instance_uid"] == other.sop_instance_uid
    }
    assert noted == set(changed)
    check_nothing_else(node)


@pytest.mark.parametrize(
    "unchanged",
    [
        {},
        {"PatientName": "DOE^JANE^^ "},
        {"PatientName": "", "PatientBirthDate": "", "PatientSex": None},
        {"IssuerOfPatientID": "ELSEWHERE", "PatientSex": "M"},
        {"PatientID": "", "PatientName": "Unknown", "PatientSex": "M"},
    ],
    ids=["the same", "case and padding", "nothing said", "another issuer", "no Patient ID"],
)
def test_s12_what_contradicts_nothing_is_stored(node: RunningNode, unchanged: dict[str, Any]) -> None:
    values: dict[str, Any] = {"PatientID": unique_uid(), **KNOWN_PATIENT}
    for instance in (make_instance(**values), make_instance(**{**values, **unchanged})):
        assert store(node.address, instance).status == 0
        check_kept(node, instance)


def test_s12_a_version_with_changed_demographics_is_not_kept_aside_either(node: RunningNode) -> None:
    patient_id = unique_uid()
    first = make_instance(PatientID=patient_id, **KNOWN_PATIENT)
    changed: dict[str, Any] = {**KNOWN_PATIENT, "PatientSex": "M"}
    second = make_instance(PatientID=patient_id, SOPInstanceUID=first.sop_instance_uid, **changed)
    assert store(node.address, first).status == 0
    assert store(node.address, second).status == 0xA779
    reader = archive_of(node).reader
    assert reader.conflicts(first.sop_instance_uid) == []
    recorded = [row["outcome"] for row in reader.receipts(first.sop_instance_uid)]
    assert recorded == ["stored", "refused-patient"]
    # the same again is the same again
    assert store(node.address, first).status == 0
    check_kept(node, first)
    check_nothing_else(node)
