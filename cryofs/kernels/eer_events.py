"""Render electron events: decode and sum the event streams of a group of frames in one pass over the image.

The image is rendered in bands of rows that fit into the processor's cache. Each stream is decoded up to the end of a
band before the next stream is decoded, so the image passes through the cache once instead of once per frame. Memory
safety follows from the algorithm: an event is placed only if its pixel lies before the end of the band, even if the
stream is damaged. `cryofs.kernels.eer_streams` decodes.

Decoding follows the EER specification: ``pixel += run length``; if the run length is all ones, continue; otherwise
place an event and ``pixel += 1``. A stream is intact if the pixel ends at exactly width * height. RELION (renderEER)
detects damaged frames in the same way.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.kernels.eer_streams import batch_layout, sum_streams

# Size of a band in bytes, which fits into the private cache of a core.
_BAND_BYTES = 1 << 19


@dataclass(frozen=True)
class SummedEvents:
    """Sum of the event streams of a group of frames.

    Attributes
    ----------
    image : ndarray of unsigned integers, shape (upsampling * ny, upsampling * nx)
        Events per pixel, summed over all intact streams, in the narrowest type that cannot overflow.
    events : ndarray of int64, shape (streams,)
        Number of events of each stream, or -1 if the stream is damaged.
    unread : ndarray of int64, shape (streams,)
        Number of bits of each stream after its last event or run of all ones.
    """

    image: NDArray[Any]
    events: NDArray[np.int64]
    unread: NDArray[np.int64]


def sum_events(
    words: NDArray[np.uint64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    shape: tuple[int, int],
    code: tuple[int, int, int, int],
    upsampling: int,
    memory: NDArray[Any] | None = None,
) -> SummedEvents:
    """Decode the event streams of a group of frames, and return the summed image.

    Parameters
    ----------
    words : ndarray of uint64
        The streams, followed by two padding words.
    starts, ends : ndarray of int64
        First bit of each stream, and the first bit after it.
    shape : tuple
        Rows and columns of the detector.
    code : tuple
        Sizes in bits of the run length, of sub-pixel x, of sub-pixel y, and of a code whose run length is all ones.
    upsampling : int
        Image pixels along each side of a detector pixel: 1, 2 or 4, which need 0, 1 or 2 sub-pixel bits.
    memory : ndarray or None
        Memory for the image, used only if it has exactly the size of the image.

    Returns
    -------
    SummedEvents
        Damaged streams contribute no events.
    """
    ny, nx = shape
    # a frame has at most one event per pixel
    dtype = np.min_scalar_type(len(starts))
    size = (upsampling * ny, upsampling * nx)
    if memory is not None and memory.nbytes == size[0] * size[1] * dtype.itemsize:
        image = memory.reshape(-1).view(dtype).reshape(size)
    else:
        image = np.empty(size, dtype)
    band_rows = max(1, _BAND_BYTES // (upsampling * image[0].nbytes))
    places = _sub_pixel_places(code[1], code[2], upsampling, nx)
    layout = batch_layout(code[0], code[1] + code[2], code[3])
    events, pixels, bits = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64), starts.copy()
    state = pixels, bits, ends, image.reshape(-1), events
    sum_streams(words, np.array(code, np.int64), layout, ny, nx, band_rows, upsampling, places, *state)
    intact = pixels == ny * nx
    events[~intact] = -1
    if not intact.all():
        # damage is detected only at the end of a stream, and is rare, so the image is rendered again without the stream
        image = sum_events(words, starts[intact], ends[intact], shape, code, upsampling, image).image
    return SummedEvents(image, events, ends - bits)


def load() -> None:
    """Load or compile the kernels for both image types, which serve groups with few and with many frames."""
    for streams in (1, 256):
        bits = np.zeros(streams, np.int64)
        sum_events(np.zeros(2, np.uint64), bits, bits, (1, 1), (7, 2, 2, 7), 1)


def _sub_pixel_places(x_bits: int, y_bits: int, upsampling: int, nx: int) -> NDArray[np.uint64]:
    """Return the offset of an event in the upsampled image from the corner of its pixel, for each sub-pixel value.

    Sub-pixel values are stored with the highest bit inverted; upsampling uses their high bits.
    """
    shift = upsampling.bit_length() - 1
    stored = np.arange(1 << (x_bits + y_bits))
    x = (stored & ((1 << x_bits) - 1)) ^ (1 << x_bits >> 1)
    y = (stored >> x_bits) ^ (1 << y_bits >> 1)
    if shift == 0:
        return np.zeros(len(stored), np.uint64)
    return ((y >> (y_bits - shift)) * (upsampling * nx) + (x >> (x_bits - shift))).astype(np.uint64)
