"""Storage: C-STORE (PS3.4 B)."""

from datetime import UTC, datetime

from pacslite.archive.receipt import Receipt
from pacslite.dimse.commands import CommandField
from pacslite.dimse.serving import Request
from pacslite.dimse.sinks import DataSink
from pacslite.model.errors import CannotUnderstandError, InvalidAttributeValueError
from pacslite.model.instances import InstanceKey, Provenance
from pacslite.model.statuses import SUCCESS, StatusReport
from pacslite.services.archives import Archives


class StorageService:
    """Keeps what peers send in the archive that they call.

    Parameters
    ----------
    archives
        Of the node.
    """

    operations = frozenset({CommandField.C_STORE_RQ})

    def __init__(self, archives: Archives) -> None:
        self._archives = archives

    def open_sink(self, request: Request) -> DataSink:
        """Return a receipt of the archive that the association calls."""
        archive = self._archives.called(request.session.terms.called_ae_title)
        return archive.receive(_key(request), _provenance(request), request.session.connection)

    async def serve(self, request: Request) -> StatusReport:
        """Keep the instance; the peer sees Success only once it is durable and indexed (PS3.4 B.2.3).

        Raises
        ------
        InvalidAttributeValueError
            The command says that there is no data set: 0106.
        CannotUnderstandError
            The data set is empty: C000.
        RefusedError
            As `Ingest.keep`.
        """
        receipt = request.sink
        if not isinstance(receipt, Receipt):
            raise InvalidAttributeValueError("a C-STORE request has a data set")
        if not receipt.data_set_bytes and receipt.refusal is None:
            receipt.abort()
            raise CannotUnderstandError("the data set is empty")
        archive = self._archives.called(request.session.terms.called_ae_title)
        await archive.ingest.keep(receipt)
        return SUCCESS


def _key(request: Request) -> InstanceKey:
    return InstanceKey(
        sop_class_uid=request.command.sop_class_uid,
        sop_instance_uid=request.command.sop_instance_uid,
        transfer_syntax_uid=request.context.transfer_syntax,
    )


def _provenance(request: Request) -> Provenance:
    session = request.session
    return Provenance(
        received_at=datetime.now(UTC),
        calling_ae_title=session.terms.calling_ae_title,
        called_ae_title=session.terms.called_ae_title,
        peer_address=session.connection.peer_address,
        local_address=session.connection.local_address,
        implementation_class_uid=session.terms.peer_implementation_class_uid,
        implementation_version_name=session.terms.peer_implementation_version_name,
        association_id=session.association_id,
        move_originator_ae_title=request.command.move_originator_ae_title,
        move_originator_message_id=request.command.move_originator_message_id,
    )
