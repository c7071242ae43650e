"""The abstract and transfer syntaxes that the node supports (PS3.4 B.5, PS3.5 10)."""

from typing import Final

from pydicom._uid_dict import UID_dictionary  # the registry as a table; it has no public name
from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts

from pacslite.model.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

_COMPOSITE_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
_ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"


def _retired_storage_classes() -> list[str]:
    """Return the retired composite classes, whose objects old archives still send."""
    return [
        uid
        for uid, (name, kind, _, retired, _) in UID_dictionary.items()
        if kind == "SOP Class"
        and retired == "Retired"
        and "Storage" in name
        and uid.startswith(_COMPOSITE_STORAGE_ROOT)
    ]


def _retired_transfer_syntaxes() -> list[str]:
    """Return the retired JPEG processes, for the same reason."""
    return [
        uid
        for uid, (name, kind, _, retired, _) in UID_dictionary.items()
        if kind == "Transfer Syntax" and retired == "Retired" and name.startswith("JPEG")
    ]


STORAGE_SOP_CLASSES: Final = tuple(
    dict.fromkeys(
        [
            *(str(context.abstract_syntax) for context in AllStoragePresentationContexts),
            *_retired_storage_classes(),
        ]
    )
)
"""Every storage SOP class of pynetdicom, and the retired ones of the standard's registry."""

STORAGE_TRANSFER_SYNTAXES: Final = tuple(
    dict.fromkeys(
        [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN]
        + [str(uid) for uid in ALL_TRANSFER_SYNTAXES]
        + [_ENCAPSULATED_UNCOMPRESSED, *_retired_transfer_syntaxes()]
    )
)
"""Those in force, big endian and the retired JPEG processes."""

MESSAGE_TRANSFER_SYNTAXES: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""For services whose data sets the node makes itself."""


def is_standard_non_storage(abstract_syntax: str) -> bool:
    """Whether the standard gives `abstract_syntax` another meaning than storage."""
    entry = UID_dictionary.get(abstract_syntax)
    return entry is not None and abstract_syntax not in _STORAGE


_STORAGE: Final = frozenset(STORAGE_SOP_CLASSES)
