"""Electron events to images: decoding and adding up the event streams of a group of frames in one pass over the image.

The image is made in bands of rows that stay in the processor's cache. Each stream is decoded up to the end of a band,
then the next stream; so the image passes through the cache once, not once a frame. Bounds follow from the algorithm: an
event is placed only if its pixel lies before the end of the band, whatever the stream holds.

Decoding as in the EER specification: ``pixel += run length``; if that was all ones, go on; else an event is there, and
``pixel += 1``. A stream is whole if the pixel ends at width * height exactly, which is how RELION (renderEER) tells
damaged frames too.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Bytes of the image in a band, well within a core's own cache.
_BAND_BYTES = 1 << 19


@dataclass(frozen=True)
class Sum:
    """What the event streams of a group of frames add up to.

    Attributes
    ----------
    image : ndarray of unsigned integers, shape (upsampling * ny, upsampling * nx)
        Events a pixel, the sum of all whole streams; the narrowest type that no sum can exceed.
    events : ndarray of int64, shape (streams,)
        Events of each stream, -1 for a damaged one.
    """

    image: NDArray[Any]
    events: NDArray[np.int64]


def add_up(
    words: NDArray[np.uint64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    shape: tuple[int, int],
    code: tuple[int, int, int, int],
    upsampling: int,
    memory: NDArray[Any] | None = None,
) -> Sum:
    """Image of a group of frames.

    Parameters
    ----------
    words : ndarray of uint64
        The streams; two words more than they take.
    starts, ends : ndarray of int64
        First bit of each stream, and the first one behind it.
    shape : tuple
        Rows and columns of the detector.
    code : tuple
        Bits of the run length, of sub-pixel x, of sub-pixel y, and of a run length of all ones.
    upsampling : int
        1, 2 or 4 pixels of the image a pixel of the detector; needs 0, 1 or 2 sub-pixel bits.
    memory : ndarray or None
        Where the image is to be made, if it has the size of the image.

    Returns
    -------
    Sum
        Damaged streams are left out whole.
    """
    ny, nx = shape
    # a frame has one event at most in a pixel
    dtype = np.min_scalar_type(len(starts))
    size = (upsampling * ny, upsampling * nx)
    if memory is not None and memory.nbytes == size[0] * size[1] * dtype.itemsize:
        image = memory.reshape(-1).view(dtype).reshape(size)
    else:
        image = np.empty(size, dtype)
    band_rows = max(1, _BAND_BYTES // (upsampling * image[0].nbytes))
    places = _sub_pixel_places(code[1], code[2], upsampling, nx)
    events = np.zeros(len(starts), np.int64)
    _add_up(words, starts, ends, *code, ny, nx, band_rows, upsampling, places, image.reshape(-1), events)
    whole = events >= 0
    if not whole.all():
        # damaged streams are rare: they are noticed at their end, and the image is made again without them
        image = add_up(words, starts[whole], ends[whole], shape, code, upsampling, image).image
    return Sum(image, events)


def load() -> None:
    """Load the compiled code, or compile it, before it is needed: for few frames and for many."""
    for streams in (1, 256):
        bits = np.zeros(streams, np.int64)
        add_up(np.zeros(2, np.uint64), bits, bits, (1, 1), (7, 2, 2, 7), 1)


def _sub_pixel_places(x_bits: int, y_bits: int, upsampling: int, nx: int) -> NDArray[np.int64]:
    """Where in the upsampled image an event lies, for each sub-pixel value as stored, relative to its pixel's corner.

    Sub-pixel values are stored with the highest bit inverted; the high bits are those that count.
    """
    shift = upsampling.bit_length() - 1
    stored = np.arange(1 << (x_bits + y_bits))
    x = (stored & ((1 << x_bits) - 1)) ^ (1 << x_bits >> 1)
    y = (stored >> x_bits) ^ (1 << y_bits >> 1)
    if shift == 0:
        return np.zeros(len(stored), np.int64)
    return ((y >> (y_bits - shift)) * (upsampling * nx) + (x >> (x_bits - shift))).astype(np.int64)


@njit(nogil=True, cache=True, error_model="numpy")
def _add_up(  # type: ignore[no-untyped-def]
    words, starts, ends, run_bits, x_bits, y_bits, long_bits, ny, nx, band_rows, upsampling, places, image, events
):
    """Fill `image` (flat) and `events` (zeros)."""
    total = ny * nx
    event_bits = run_bits + x_bits + y_bits
    longest = (1 << run_bits) - 1
    run_mask = np.uint64(longest)
    sub_pixel_mask = np.uint64((1 << (x_bits + y_bits)) - 1)
    run_shift = np.uint64(run_bits)
    events_a_word = 64 // event_bits
    # an upsampled row of the detector is longer than `upsampling` times its pixels by this much
    row_step = upsampling * (upsampling - 1) * nx
    sub_pixel_and_skip = event_bits - long_bits
    bits = starts.copy()
    pixels = np.zeros(len(starts), np.int64)
    for band_end in range(band_rows * nx, total + band_rows * nx, band_rows * nx):
        until = min(band_end, total)
        image[(band_end - band_rows * nx) * upsampling * upsampling : until * upsampling * upsampling] = 0
        for stream in range(len(starts)):
            pixel, bit, end = pixels[stream], bits[stream], ends[stream]
            placed = 0
            row_end = until if upsampling == 1 else pixel
            row_start = 0
            going = pixel < until
            while going:
                # 64 bits from `bit` on; a shift by 64 would be no shift
                word = bit >> 6
                down = np.uint64(bit & 63)
                chunk = (words[word] >> down) | ((words[word + 1] << np.uint64(1)) << (np.uint64(63) - down))
                for _ in range(events_a_word):
                    run = np.int64(chunk & run_mask)
                    target = pixel + run
                    if target >= until:
                        # this event belongs to a later band, or there is none: the frame ends here
                        if pixel < total:
                            if bit + run_bits > end or target > total:
                                pixel = total + 1
                            elif target == total:
                                pixel = total
                        going = False
                        break
                    # a run of all ones places nothing; adding nothing is faster than a branch that is hard to foresee
                    placing = int(run != longest)
                    taken = long_bits + placing * sub_pixel_and_skip
                    bit += taken
                    if bit > end:
                        pixel = total + 1
                        going = False
                        break
                    if target >= row_end:
                        row = target // nx
                        row_end = (row + 1) * nx
                        row_start = row * row_step
                    sub_pixel = np.int64((chunk >> run_shift) & sub_pixel_mask)
                    image[upsampling * target + row_start + places[sub_pixel]] += image.dtype.type(placing)
                    placed += placing
                    pixel = target + placing
                    chunk >>= np.uint64(taken)
                going = going and pixel < until
            pixels[stream], bits[stream] = pixel, bit
            events[stream] += placed
    for stream in range(len(starts)):
        if pixels[stream] != total:
            events[stream] = -1
