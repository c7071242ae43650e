"""Create the index: patients, studies, series, instances, and what happened to them.

Revises nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001_create_the_index"
down_revision = None
branch_labels = None
depends_on = None


def _key() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _string(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    _create_patient()
    _create_study()
    _create_series()
    _create_instance()
    _create_receipt()
    _create_conflict()
    _create_discrepancy()
    _create_job()
    _create_store()


def downgrade() -> None:
    for name in (
        "store",
        "job",
        "discrepancy",
        "conflict",
        "receipt",
        "instance",
        "series",
        "study",
        "patient",
    ):
        op.drop_table(name)


def _create_patient() -> None:
    op.create_table(
        "patient",
        sa.Column("pk", _key(), nullable=False),
        sa.Column("patient_key", _string(512), nullable=False),
        sa.Column("patient_name", _string(512)),
        sa.Column("patient_name_alphabetic", _string(512)),
        sa.Column("patient_name_ideographic", _string(512)),
        sa.Column("patient_name_phonetic", _string(512)),
        sa.Column("patient_id", _string(512)),
        sa.Column("issuer_of_patient_id", _string(512)),
        sa.Column("patient_birth_date", _string(8)),
        sa.Column("patient_birth_time", _string(512)),
        sa.Column("patient_birth_time_start", sa.BigInteger()),
        sa.Column("patient_sex", _string(512)),
        sa.Column("other_patient_ids", _string(512)),
        sa.Column("other_patient_names", _string(512)),
        sa.Column("other_patient_names_folded", _string(512)),
        sa.Column("ethnic_group", _string(512)),
        sa.Column("patient_comments", sa.Text()),
        sa.Column("other_patient_ids_sequence", sa.Text()),
        sa.PrimaryKeyConstraint("pk", name="pk_patient"),
        sa.UniqueConstraint("patient_key", name="uq_patient_patient_key"),
    )
    op.create_index("ix_patient_patient_birth_date", "patient", ["patient_birth_date"])
    op.create_index("ix_patient_patient_id", "patient", ["patient_id"])
    op.create_index("ix_patient_patient_name", "patient", ["patient_name"])
    op.create_index("ix_patient_patient_name_alphabetic", "patient", ["patient_name_alphabetic"])
    op.create_index("ix_patient_patient_name_ideographic", "patient", ["patient_name_ideographic"])
    op.create_index("ix_patient_patient_name_phonetic", "patient", ["patient_name_phonetic"])


def _create_study() -> None:
    op.create_table(
        "study",
        sa.Column("pk", _key(), nullable=False),
        sa.Column("patient_pk", _key(), nullable=False),
        sa.Column("study_instance_uid", _string(64), nullable=False),
        sa.Column("study_date", _string(8)),
        sa.Column("study_time", _string(512)),
        sa.Column("study_time_start", sa.BigInteger()),
        sa.Column("accession_number", _string(512)),
        sa.Column("study_id", _string(512)),
        sa.Column("study_description", _string(512)),
        sa.Column("referring_physician_name", _string(512)),
        sa.Column("referring_physician_name_alphabetic", _string(512)),
        sa.Column("referring_physician_name_ideographic", _string(512)),
        sa.Column("referring_physician_name_phonetic", _string(512)),
        sa.Column("name_of_physicians_reading_study", _string(512)),
        sa.Column("name_of_physicians_reading_study_folded", _string(512)),
        sa.Column("admitting_diagnoses_description", _string(512)),
        sa.Column("patient_age", _string(512)),
        sa.Column("patient_size", _string(512)),
        sa.Column("patient_size_value", sa.Double()),
        sa.Column("patient_weight", _string(512)),
        sa.Column("patient_weight_value", sa.Double()),
        sa.Column("timezone_offset_from_utc", _string(512)),
        sa.Column("number_of_study_related_series", sa.BigInteger(), nullable=False),
        sa.Column("number_of_study_related_instances", sa.BigInteger(), nullable=False),
        sa.Column("modalities_in_study", sa.Text(), nullable=False),
        sa.Column("sop_classes_in_study", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["patient_pk"], ["patient.pk"], name="fk_study_patient_pk"),
        sa.PrimaryKeyConstraint("pk", name="pk_study"),
        sa.UniqueConstraint("study_instance_uid", name="uq_study_study_instance_uid"),
    )
    op.create_index("ix_study_accession_number", "study", ["accession_number"])
    op.create_index("ix_study_patient_pk", "study", ["patient_pk"])
    op.create_index(
        "ix_study_referring_physician_name_alphabetic", "study", ["referring_physician_name_alphabetic"]
    )
    op.create_index("ix_study_study_date_study_time_start", "study", ["study_date", "study_time_start"])
    op.create_index("ix_study_study_id", "study", ["study_id"])


def _create_series() -> None:
    op.create_table(
        "series",
        sa.Column("pk", _key(), nullable=False),
        sa.Column("study_pk", _key(), nullable=False),
        sa.Column("series_instance_uid", _string(64), nullable=False),
        sa.Column("modality", _string(512)),
        sa.Column("series_number", sa.BigInteger()),
        sa.Column("series_description", _string(512)),
        sa.Column("series_date", _string(8)),
        sa.Column("series_time", _string(512)),
        sa.Column("series_time_start", sa.BigInteger()),
        sa.Column("body_part_examined", _string(512)),
        sa.Column("laterality", _string(512)),
        sa.Column("protocol_name", _string(512)),
        sa.Column("performing_physician_name", _string(512)),
        sa.Column("performing_physician_name_folded", _string(512)),
        sa.Column("operators_name", _string(512)),
        sa.Column("operators_name_folded", _string(512)),
        sa.Column("institution_name", _string(512)),
        sa.Column("station_name", _string(512)),
        sa.Column("manufacturer", _string(512)),
        sa.Column("manufacturer_model_name", _string(512)),
        sa.Column("performed_procedure_step_start_date", _string(8)),
        sa.Column("performed_procedure_step_start_time", _string(512)),
        sa.Column("performed_procedure_step_start_time_start", sa.BigInteger()),
        sa.Column("request_attributes_sequence", sa.Text()),
        sa.Column("number_of_series_related_instances", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["study_pk"], ["study.pk"], name="fk_series_study_pk"),
        sa.PrimaryKeyConstraint("pk", name="pk_series"),
        sa.UniqueConstraint("study_pk", "series_instance_uid", name="uq_series_study_pk_series_instance_uid"),
    )
    op.create_index("ix_series_modality_study_pk", "series", ["modality", "study_pk"])
    op.create_index(
        "ix_series_performed_procedure_step_start_date", "series", ["performed_procedure_step_start_date"]
    )
    op.create_index("ix_series_series_instance_uid", "series", ["series_instance_uid"])


def _create_instance() -> None:
    op.create_table(
        "instance",
        sa.Column("pk", _key(), nullable=False),
        sa.Column("series_pk", _key(), nullable=False),
        sa.Column("sop_instance_uid", _string(64), nullable=False),
        sa.Column("sop_class_uid", _string(64), nullable=False),
        sa.Column("instance_number", sa.BigInteger()),
        sa.Column("content_date", _string(8)),
        sa.Column("content_time", _string(512)),
        sa.Column("content_time_start", sa.BigInteger()),
        sa.Column("acquisition_number", sa.BigInteger()),
        sa.Column("acquisition_date", _string(8)),
        sa.Column("acquisition_time", _string(512)),
        sa.Column("acquisition_time_start", sa.BigInteger()),
        sa.Column("acquisition_date_time", _string(512)),
        sa.Column("acquisition_date_time_start", sa.BigInteger()),
        sa.Column("image_type", _string(512)),
        sa.Column("number_of_frames", sa.BigInteger()),
        sa.Column("rows", sa.BigInteger()),
        sa.Column("columns", sa.BigInteger()),
        sa.Column("bits_allocated", sa.BigInteger()),
        sa.Column("bits_stored", sa.BigInteger()),
        sa.Column("container_identifier", _string(512)),
        sa.Column("completion_flag", _string(512)),
        sa.Column("verification_flag", _string(512)),
        sa.Column("concept_name_code_sequence", sa.Text()),
        sa.Column("path", _string(255)),
        sa.Column("file_bytes", sa.BigInteger(), nullable=False),
        sa.Column("data_set_offset", sa.BigInteger(), nullable=False),
        sa.Column("digest", _string(32), nullable=False),
        sa.Column("transfer_syntax_uid", _string(64), nullable=False),
        sa.Column("availability", _string(16), nullable=False),
        sa.Column("is_misdeclared", sa.Boolean(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("calling_ae_title", _string(16), nullable=False),
        sa.ForeignKeyConstraint(["series_pk"], ["series.pk"], name="fk_instance_series_pk"),
        sa.PrimaryKeyConstraint("pk", name="pk_instance"),
        sa.UniqueConstraint("path", name="uq_instance_path"),
        sa.UniqueConstraint("sop_instance_uid", name="uq_instance_sop_instance_uid"),
    )
    op.create_index("ix_instance_series_pk", "instance", ["series_pk"])


def _create_receipt() -> None:
    op.create_table(
        "receipt",
        sa.Column("pk", _key(), nullable=False),
        sa.Column("instance_pk", _key(), nullable=False),
        sa.Column("outcome", _string(16), nullable=False),
        sa.Column("digest", _string(32), nullable=False),
        sa.Column("transfer_syntax_uid", _string(64), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("calling_ae_title", _string(16), nullable=False),
        sa.Column("called_ae_title", _string(16), nullable=False),
        sa.Column("peer_address", _string(64), nullable=False),
        sa.Column("local_address", _string(64), nullable=False),
        sa.Column("implementation_class_uid", _string(64), nullable=False),
        sa.Column("implementation_version_name", _string(16), nullable=False),
        sa.Column("association_id", _string(64), nullable=False),
        sa.Column("move_originator_ae_title", _string(16), nullable=False),
        sa.Column("move_originator_message_id", sa.Integer()),
        sa.ForeignKeyConstraint(["instance_pk"], ["instance.pk"], name="fk_receipt_instance_pk"),
        sa.PrimaryKeyConstraint("pk", name="pk_receipt"),
    )
    op.create_index("ix_receipt_instance_pk", "receipt", ["instance_pk"])


def _create_conflict() -> None:
    op.create_table(
        "conflict",
        sa.Column("pk", _key(), nullable=False),
        sa.Column("instance_pk", _key(), nullable=False),
        sa.Column("role", _string(16), nullable=False),
        sa.Column("path", _string(255), nullable=False),
        sa.Column("file_bytes", sa.BigInteger(), nullable=False),
        sa.Column("data_set_offset", sa.BigInteger(), nullable=False),
        sa.Column("digest", _string(32), nullable=False),
        sa.Column("transfer_syntax_uid", _string(64), nullable=False),
        sa.Column("sop_class_uid", _string(64), nullable=False),
        sa.Column("study_instance_uid", _string(64), nullable=False),
        sa.Column("series_instance_uid", _string(64), nullable=False),
        sa.Column("other_digest", _string(32), nullable=False),
        sa.Column("differing_keywords", sa.Text(), nullable=False),
        sa.Column("receipt_pk", _key(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["instance_pk"], ["instance.pk"], name="fk_conflict_instance_pk"),
        sa.ForeignKeyConstraint(["receipt_pk"], ["receipt.pk"], name="fk_conflict_receipt_pk"),
        sa.PrimaryKeyConstraint("pk", name="pk_conflict"),
        sa.UniqueConstraint("path", name="uq_conflict_path"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_conflict_instance_pk", "conflict", ["instance_pk"])
    op.create_index("ix_conflict_series_instance_uid", "conflict", ["series_instance_uid"])
    op.create_index("ix_conflict_study_instance_uid", "conflict", ["study_instance_uid"])


def _create_discrepancy() -> None:
    op.create_table(
        "discrepancy",
        sa.Column("pk", _key(), nullable=False),
        sa.Column("level", _string(16), nullable=False),
        sa.Column("entity_pk", _key(), nullable=False),
        sa.Column("keyword", _string(64), nullable=False),
        sa.Column("kept_value", _string(512), nullable=False),
        sa.Column("received_value", _string(512), nullable=False),
        sa.Column("sop_instance_uid", _string(64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pk", name="pk_discrepancy"),
        sa.UniqueConstraint(
            "level",
            "entity_pk",
            "keyword",
            "received_value",
            name="uq_discrepancy_level_entity_pk_keyword_received_value",
        ),
    )
    op.create_index("ix_discrepancy_sop_instance_uid", "discrepancy", ["sop_instance_uid"])


def _create_job() -> None:
    op.create_table(
        "job",
        sa.Column("pk", _key(), nullable=False),
        sa.Column("kind", _string(64), nullable=False),
        sa.Column("dedupe_key", _string(255)),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", _string(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", _string(64)),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("last_error", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pk", name="pk_job"),
        sa.UniqueConstraint("dedupe_key", name="uq_job_dedupe_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_job_state_not_before", "job", ["state", "not_before"])


def _create_store() -> None:
    op.create_table(
        "store",
        sa.Column("node_name", _string(64), nullable=False),
        sa.Column("identity", _string(32), nullable=False),
        sa.PrimaryKeyConstraint("node_name", name="pk_store"),
    )
