"""Settings that bound what the node takes upon itself: limits, timers, sizes."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pacslite.settings.section import Section
from pacslite.settings.values import (
    GIB,
    KIB,
    MIB,
    Bytes,
    BytesOrZero,
    Count,
    Flag,
    KeyedError,
    Seconds,
    ThreadCount,
)


class AssociationSettings(Section):
    """Limits and timers of associations."""

    max_associations: Count = Field(
        default=200, description="Associations at a time; one more is rejected as transient (2, 3, 2)."
    )
    max_half_open: Count = Field(
        default=500, description="Connections at a time that have not negotiated yet; counted apart."
    )
    max_pdu_bytes: int = Field(
        default=128 * KIB,
        strict=True,
        ge=4 * KIB,
        le=16 * MIB,
        description="The largest P-DATA-TF PDU that the node announces it takes, in bytes.",
    )
    artim_seconds: Seconds = Field(
        default=10.0,
        description="How long a connection may take to ask for an association, and to close after one.",
    )
    idle_seconds: Seconds = Field(
        default=300.0,
        description="How long an association may go without a byte in either direction before it is aborted.",
    )
    dimse_seconds: Seconds = Field(
        default=60.0,
        description="How long a message may pause between two fragments, or a response be awaited.",
    )
    minimum_receive_bytes_per_second: Bytes = Field(
        default=1000,
        description="A message that arrives slower than this on average is aborted, in bytes a second.",
    )
    drain_seconds: Seconds = Field(
        default=20.0, description="How long associations may finish after SIGTERM before they are aborted."
    )
    connect_seconds: Seconds = Field(
        default=10.0, description="How long connecting to a peer may take when the node is the one who asks."
    )


class StorageSettings(Section):
    """Limits of the store and how it writes."""

    reserve_bytes: BytesOrZero = Field(
        default=GIB,
        description="Free space that stays free, in bytes; below it a C-STORE gets A700. 0 keeps none.",
    )
    max_open_bytes: Bytes = Field(
        default=16 * GIB,
        description="Bytes of unfinished receipts at a time, over all associations; beyond it A700.",
    )
    max_object_bytes: Bytes = Field(
        default=16 * GIB, description="Size of one data set, in bytes; a larger one gets A700."
    )
    max_inflated_bytes: Bytes = Field(
        default=GIB,
        description="How far a deflated data set is inflated to read its header, in bytes; beyond it A700.",
    )
    disk_threads: ThreadCount = Field(default=4, description="Threads that write and sync files.")
    segment_files: Count = Field(
        default=256, description="Files that are made ahead in each folder of the store."
    )
    chunk_pool_bytes: int = Field(
        default=16 * MIB,
        strict=True,
        ge=2 * MIB,
        description="Memory for data on its way to the disk, over all associations, in bytes.",
    )
    sync_interval_bytes: Bytes = Field(
        default=16 * MIB, description="A large instance is synced each time so many bytes of it are written."
    )
    allow_unsafe_filesystem: Flag = Field(
        default=False,
        description="Start although the data folder is on a network file system, which can lose the index.",
    )
    keep_unparsable: Flag = Field(
        default=False,
        description="Keep a data set that was refused as unparsable (C000) aside for inspection.",
    )

    @model_validator(mode="after")
    def _check_object_fits(self) -> Self:
        if self.max_object_bytes > self.max_open_bytes:
            raise KeyedError(
                "storage.max_object_bytes",
                "is larger than storage.max_open_bytes, so no such object could arrive",
            )
        return self


class IndexSettings(Section):
    """How the index is written and read."""

    max_group_count: Count = Field(default=64, description="Receipts that share one durable commit at most.")
    checkpoint_wal_bytes: Bytes = Field(
        default=4 * MIB,
        description="SQLite only: size of the write-ahead log that starts a checkpoint, in bytes.",
    )
    busy_seconds: Seconds = Field(
        default=10.0, description="How long a locked database is waited for before the sender gets A700."
    )
    reader_count: ThreadCount = Field(default=4, description="Connections that read at a time.")


class JobSettings(Section):
    """How the node does what it promised to do later: removing files, forwarding."""

    worker_count: ThreadCount = Field(default=4, description="Jobs at a time, in each archive.")
    lease_seconds: Seconds = Field(
        default=60.0,
        description="How long after a node's last sign of life another one takes its jobs; the same on all "
        "nodes that share an index.",
    )
    max_attempts: Count = Field(
        default=10, description="Attempts after which a job is given up; `pacslite jobs retry` revives it."
    )
    retry_seconds_min: Seconds = Field(
        default=5.0, description="The pause after the first failed attempt; it doubles with each further one."
    )
    retry_seconds_max: Seconds = Field(default=3600.0, description="The longest pause between two attempts.")
    attempt_seconds: Seconds = Field(
        default=600.0, description="How long one attempt may take before it counts as failed."
    )

    @model_validator(mode="after")
    def _check_pauses_are_in_order(self) -> Self:
        if self.retry_seconds_min > self.retry_seconds_max:
            raise KeyedError("jobs.retry_seconds_min", "is longer than jobs.retry_seconds_max")
        return self


class LoggingSettings(Section):
    """What the node says on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least level that is written; `info` and above hold no patient data."
    )
    format: Literal["text", "json"] = Field(
        default="text", description="`text` for people, `json` for one JSON object per line."
    )
