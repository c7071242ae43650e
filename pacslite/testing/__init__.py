"""A node to test against, and instances to send to it; public.

pytest finds the fixtures `pacs` and `pacs_factory` by itself once pacslite is installed. Nothing heavy is
imported until one of these names is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pacslite.testing.instances import make_instance, make_study, write_instance
    from pacslite.testing.received import NotReceivedError, ReceivedInstance
    from pacslite.testing.running import RunningNode, running_node

_MODULES: Final = {
    "NotReceivedError": "received",
    "ReceivedInstance": "received",
    "RunningNode": "running",
    "make_instance": "instances",
    "make_study": "instances",
    "running_node": "running",
    "write_instance": "instances",
}

__all__ = [
    "NotReceivedError",
    "ReceivedInstance",
    "RunningNode",
    "make_instance",
    "make_study",
    "running_node",
    "write_instance",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
