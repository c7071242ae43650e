"""Whether a header is that of the instance which the C-STORE command announced."""

from typing import Final

from pacslite.model.errors import CannotUnderstandError, ClassMismatchError, InstanceMismatchError
from pacslite.model.header import InstanceHeader
from pacslite.model.instances import InstanceKey
from pacslite.model.uids import is_tolerable_uid, strip_uid

SOP_CLASS_UID_TAG: Final = 0x00080016
SOP_INSTANCE_UID_TAG: Final = 0x00080018
STUDY_INSTANCE_UID_TAG: Final = 0x0020000D
SERIES_INSTANCE_UID_TAG: Final = 0x0020000E


def validate(header: InstanceHeader, key: InstanceKey) -> None:
    """Check that the data set can be indexed and is the one that its command announced.

    Raises
    ------
    CannotUnderstandError
        A UID that every instance must have is missing, empty or no UID: the peer sees C000.
    ClassMismatchError
        The command names another SOP Class: A901.
    InstanceMismatchError
        The command names another SOP Instance: A900.

    References
    ----------
    PS3.4 B.2.3; PS3.3 C.12.1, C.7.2.1, C.7.3.1.
    """
    for tag, keyword, uid in (
        (SOP_CLASS_UID_TAG, "SOP Class UID", header.sop_class_uid),
        (SOP_INSTANCE_UID_TAG, "SOP Instance UID", header.sop_instance_uid),
        (STUDY_INSTANCE_UID_TAG, "Study Instance UID", header.study_instance_uid),
        (SERIES_INSTANCE_UID_TAG, "Series Instance UID", header.series_instance_uid),
    ):
        if not uid:
            raise CannotUnderstandError(f"{keyword} is missing or empty", offending_tags=(tag,))
        if not is_tolerable_uid(uid):
            raise CannotUnderstandError(f"{keyword} is not a UID", offending_tags=(tag,))
    if header.sop_class_uid != strip_uid(key.sop_class_uid):
        raise ClassMismatchError(
            "Data set is of another SOP Class than the command", offending_tags=(SOP_CLASS_UID_TAG,)
        )
    if header.sop_instance_uid != strip_uid(key.sop_instance_uid):
        raise InstanceMismatchError(
            "Data set is of another SOP Instance than the command", offending_tags=(SOP_INSTANCE_UID_TAG,)
        )
