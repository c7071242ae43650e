"""From a request to the service class of its presentation context (PS3.7 6.4, PS3.4)."""

from collections.abc import Mapping
from typing import Protocol

from pacslite.dimse.commands import CommandField
from pacslite.dimse.serving import Request
from pacslite.dimse.sinks import DataSink, DiscardingSink
from pacslite.model.errors import SopClassNotSupportedError, UnrecognizedOperationError
from pacslite.model.statuses import StatusReport


class ServiceClass(Protocol):
    """One service class of PS3.4, as SCP."""

    @property
    def operations(self) -> frozenset[CommandField]:
        """The requests that it serves."""

    def open_sink(self, request: Request) -> DataSink:
        """Return where the request's data set goes; never waits or raises."""

    async def serve(self, request: Request) -> StatusReport:
        """Do what the request asks; its data set, if any, is complete.

        Raises
        ------
        RefusedError
            The peer sees its status and comment.
        """


class Dispatcher:
    """Knows the service class of each abstract syntax.

    Parameters
    ----------
    services
        Abstract syntax → service class.
    otherwise
        Serves abstract syntaxes that were negotiated without being listed: unknown storage classes.
    """

    def __init__(self, services: Mapping[str, ServiceClass], otherwise: ServiceClass) -> None:
        self._services = services
        self._otherwise = otherwise

    def open_sink(self, request: Request) -> DataSink:
        """Return where the request's data set goes; a request that will be refused loses it."""
        service = self._service(request)
        return DiscardingSink() if _refusal(request, service) else service.open_sink(request)

    async def serve(self, request: Request) -> StatusReport:
        """Serve the request, or refuse it.

        Raises
        ------
        UnrecognizedOperationError
            The presentation context's service has no such operation: the peer sees 0211.
        SopClassNotSupportedError
            The command names another SOP class than the context's: the peer sees 0122.
        """
        service = self._service(request)
        refusal = _refusal(request, service)
        if refusal is not None:
            raise refusal
        return await service.serve(request)

    def _service(self, request: Request) -> ServiceClass:
        return self._services.get(request.context.abstract_syntax, self._otherwise)


def _refusal(
    request: Request, service: ServiceClass
) -> UnrecognizedOperationError | SopClassNotSupportedError | None:
    if request.command.field not in service.operations:
        return UnrecognizedOperationError(f"command {request.command.field:04X}H is not served here")
    if request.command.sop_class_uid != request.context.abstract_syntax:
        return SopClassNotSupportedError("not the SOP class of the presentation context")
    return None
