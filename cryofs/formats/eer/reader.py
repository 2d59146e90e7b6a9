"""Reader of EER files: the index of all frames, and the event streams of selected frames."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import ChangedError, FormatError
from cryofs.formats.eer import tiff_container
from cryofs.formats.eer.footer_container import footer_index
from cryofs.formats.eer.index import MAX_SIDE, EerIndex
from cryofs.formats.eer.stream_memory import StreamMemory
from cryofs.formats.tiff_directories import MAGICS, BrokenError
from cryofs.storage.byte_source import ByteSource
from cryofs.storage.checksums import xxh3_checksum

# Maximum padding of a frame in bytes; no writer adds as much.
_PADDING_BYTES = 4096
# Number of buffers that are kept for later fractions; the streams of a fraction of 24 frames take about 11 MB.
_MEMORY = StreamMemory(2)


@dataclass(frozen=True)
class EventStreams:
    """Event streams of selected frames.

    Attributes
    ----------
    words : ndarray of uint64
        The streams, least significant bit first, followed by two padding words.
    starts, ends : ndarray of int64
        First bit of each stream, and the first bit after it.
    """

    words: NDArray[np.uint64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def read_index(source: ByteSource) -> EerIndex:
    """Return the index of all frames of an EER file; damaged frames are marked in the index.

    Raises
    ------
    FormatError
        The file is not an EER file, its directories are damaged, or no frame is intact.
    """
    head = source.read(len(MAGICS[0]), 0)
    try:
        if head in MAGICS:
            return _checked(tiff_container.TiffContainer(source, head).index())
        return _checked(footer_index(source))
    except BrokenError as error:
        raise FormatError(f"{source.name}: {error}; copy the file again") from error


def content_digest(index: EerIndex) -> str:
    """Return a digest of what distinguishes an EER file from others: its directories.

    They hold the size of each event stream, and no two movies have the same sizes.
    """
    arrays = (index.offsets, index.byte_counts, index.first_strips, index.intact)
    facts = repr((index.shape, index.code, index.other_code, index.metadata)).encode()
    return xxh3_checksum(b"\0".join((facts, *(array.tobytes() for array in arrays))))


def read_streams(source: ByteSource, index: EerIndex, frames: Sequence[int]) -> EventStreams:
    """Read the event streams of selected frames, which must be intact.

    Raises
    ------
    ChangedError
        The file was truncated after it was indexed.
    """
    sizes = index.frame_bytes[np.array(frames, np.int64)]
    starts = np.concatenate([[0], np.cumsum((sizes + 7) // 8)])
    words = _MEMORY.take(int(starts[-1]) + 2)
    words[-2:] = 0
    target = words.data.cast("B")
    for frame, start in zip(frames, starts[:-1].tolist(), strict=True):
        place = 8 * start
        for strip in range(int(index.first_strips[frame]), int(index.first_strips[frame + 1])):
            count = int(index.byte_counts[strip])
            if source.read_into(target[place : place + count], int(index.offsets[strip])) < count:
                raise ChangedError(f"{source.name}, frame {frame}: truncated while the file was open; open it again")
            place += count
    bits = 64 * starts[:-1].astype(np.int64)
    return EventStreams(words, bits, bits + 8 * sizes)


def _checked(index: EerIndex) -> EerIndex:
    """Return the index with frames of invalid size marked as damaged.

    Raises
    ------
    BrokenError
        The frame size or event layout is invalid, or no frame is intact.
    """
    code, total = index.code, index.ny * index.nx
    if not (0 < index.nx <= MAX_SIDE and 0 < index.ny <= MAX_SIDE):
        raise BrokenError(f"invalid frame size (at most {MAX_SIDE} x {MAX_SIDE}, got {index.ny} x {index.nx})")
    if not (1 <= code.run_bits <= 16 and 0 <= code.x_bits <= 8 and 0 <= code.y_bits <= 8):
        raise BrokenError(f"unsupported event layout ({code.run_bits} + {code.x_bits} + {code.y_bits} bits)")
    bits = 8 * index.frame_bytes
    long_bits = [one.long_bits for one in (code, index.other_code) if one is not None]
    fewest = total // ((1 << code.run_bits) - 1) * min(long_bits)
    most = (total + 1) * code.bits + 8 * _PADDING_BYTES
    intact = index.intact & (fewest <= bits) & (bits <= most)
    if not intact.any():
        raise BrokenError(f"no intact frames (all {index.frames} frames of {index.ny} x {index.nx} pixels are damaged)")
    return replace(index, intact=intact)
