"""Verification: C-ECHO (PS3.4 A)."""

from pacslite.dimse.commands import CommandField
from pacslite.dimse.serving import Request
from pacslite.dimse.sinks import DataSink, DiscardingSink
from pacslite.model.statuses import SUCCESS, StatusReport


class VerificationService:
    """Answers that the node is there."""

    operations = frozenset({CommandField.C_ECHO_RQ})

    def open_sink(self, request: Request) -> DataSink:  # noqa: ARG002 - the protocol's shape
        """Return a sink for a data set that a C-ECHO should not have (PS3.7 9.3.5)."""
        return DiscardingSink()

    async def serve(self, request: Request) -> StatusReport:  # noqa: ARG002 - the protocol's shape
        """Return Success (PS3.7 9.1.5)."""
        return SUCCESS
