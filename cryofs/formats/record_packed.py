"""The part of a record about a packed file."""

from typing import Annotated

import msgspec


class Packed(msgspec.Struct, frozen=True):
    """The packed file (bzip2, gzip, xz or zstd) that held the original: name, size and SHA-256.

    The original has the times and the mode of this file, as if the program of its format had unpacked it.
    """

    name: str
    bytes: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    sha256: str
