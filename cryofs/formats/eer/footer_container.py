"""The older EER container without TIFF, in which the size of the frame and a footer follow each frame.

The file is read from the end. Frames have 4096 x 4096 pixels, and events have 7 + 2 + 2 bits.
"""

import struct

import numpy as np

from cryofs.formats.eer.index import CODE_7BIT, EerIndex
from cryofs.formats.tiff_directories import MAX_IMAGES, BrokenError
from cryofs.storage.byte_source import ByteSource

_SIDE = 4096
_FOOTER_BYTES = 24
_FOOTER_OK = b"ThermoFisherECComprOK000"
_FOOTER_ERROR = b"ThermoFisherECComprERR00"
_WORD_BYTES = 8


def footer_index(source: ByteSource) -> EerIndex:
    """Return the index of all frames; raise BrokenError if the file is not an EER file or is damaged."""
    offsets: list[int] = []
    byte_counts: list[int] = []
    intact: list[bool] = []
    end = source.size
    while end > 0:
        if len(offsets) >= MAX_IMAGES:
            raise BrokenError(f"more than {MAX_IMAGES} frames")
        start = end - _FOOTER_BYTES - _WORD_BYTES
        tail = source.read(_FOOTER_BYTES + _WORD_BYTES, start) if start >= 0 else b""
        if tail[_WORD_BYTES:] not in (_FOOTER_OK, _FOOTER_ERROR):
            raise BrokenError("not an EER file (expected TIFF, or frames with footers)")
        count = _WORD_BYTES * struct.unpack_from("<q", tail)[0]
        if not 0 <= count <= start:
            raise BrokenError(f"invalid size of the frame that ends at byte {start} ({count} bytes)")
        end = start - count
        offsets.append(end)
        byte_counts.append(count)
        intact.append(tail[_WORD_BYTES:] == _FOOTER_OK)
    if not offsets:
        raise BrokenError("empty file")
    places, counts = np.array(offsets[::-1], np.int64), np.array(byte_counts[::-1], np.int64)
    bounds = np.arange(len(offsets) + 1, dtype=np.int64)
    return EerIndex(_SIDE, _SIDE, CODE_7BIT, places, counts, bounds, np.array(intact[::-1], bool), {})
