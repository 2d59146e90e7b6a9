"""Attributes of the original of an archived movie that were changed since the record was written.

An extended attribute of the TIFF file holds them: mode and times as JSON. They count instead of those in the record,
until `cryofs.ingest.record_attributes` has written a record with them, in a new file without the attribute.
"""

from typing import Annotated

import msgspec

from cryofs.errors import DamagedError
from cryofs.storage.byte_source import ByteSource
from cryofs.storage.extended_attributes import OWN

CHANGED = OWN + "original"

# Valid range of permission bits.
Mode = Annotated[int, msgspec.Meta(ge=0, le=0o7777)]


class ChangedAttributes(msgspec.Struct, frozen=True):
    """Permission bits and times of an original, in nanoseconds, with the names that they have in the record."""

    mode: Mode
    mtime_ns: int
    atime_ns: int

    def encode(self) -> bytes:
        """Return the value of the extended attribute."""
        return msgspec.json.encode(self)


def changed_attributes(source: ByteSource) -> ChangedAttributes | None:
    """Return the changed attributes of an archived movie, or None if those in the record count.

    Raises
    ------
    DamagedError
        The value is invalid.
    """
    value = source.attribute(CHANGED)
    try:
        return None if value is None else msgspec.json.decode(value, type=ChangedAttributes)
    except msgspec.MsgspecError as error:
        text = f"{source.name}: invalid extended attribute {CHANGED} ({str(error)[:200]})"
        raise DamagedError(f"{text}; remove it with setfattr -x {CHANGED}") from error
