"""Render electron events: decode and sum the event streams of a group of frames in one pass over the image.

The image is rendered in bands of rows that fit in the processor cache. Each stream is decoded up to the end of a band
before the next stream is decoded, so the image passes through the cache once instead of once per frame. Memory safety
follows from the algorithm: an event is placed only if its pixel lies before the end of the band, even if the
stream is damaged.

Decoding follows the EER specification: ``pixel += run length``; if the run length is all ones, continue; otherwise
place an event and ``pixel += 1``. A stream is intact if the pixel ends at exactly width * height. RELION (renderEER)
detects damaged frames in the same way.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.kernels.object_code import Kernel

# Bytes of the image per band; fits in the private cache of a core.
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
    """

    image: NDArray[Any]
    events: NDArray[np.int64]


def sum_events(
    words: NDArray[np.uint64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    shape: tuple[int, int],
    code: tuple[int, int, int, int],
    upsampling: int,
    memory: NDArray[Any] | None = None,
) -> SummedEvents:
    """Return the image of a group of frames.

    Parameters
    ----------
    words : ndarray of uint64
        The streams, followed by two more words.
    starts, ends : ndarray of int64
        First bit of each stream, and the first bit after it.
    shape : tuple
        Rows and columns of the detector.
    code : tuple
        Number of bits of the run length, of sub-pixel x, of sub-pixel y, and of a run length of all ones.
    upsampling : int
        Image pixels per detector pixel along each axis: 1, 2 or 4, which needs 0, 1 or 2 sub-pixel bits.
    memory : ndarray or None
        Memory for the image; used if it has the size of the image.

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
    events, pixels, bits = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64), starts.copy()
    state = pixels, bits, ends, image.reshape(-1), events
    _sum_events(words, *code, ny, nx, band_rows, upsampling, places, *state)
    intact = pixels == ny * nx
    events[~intact] = -1
    if not intact.all():
        # damage is detected only at the end of a stream; it is rare, so the image is rendered again without the stream
        image = sum_events(words, starts[intact], ends[intact], shape, code, upsampling, image).image
    return SummedEvents(image, events)


def load() -> None:
    """Load or compile the kernels for the image types of small and large groups."""
    for streams in (1, 256):
        bits = np.zeros(streams, np.int64)
        sum_events(np.zeros(2, np.uint64), bits, bits, (1, 1), (7, 2, 2, 7), 1)


def _sub_pixel_places(x_bits: int, y_bits: int, upsampling: int, nx: int) -> NDArray[np.int64]:
    """Return the offset of an event in the upsampled image from the corner of its pixel, for each sub-pixel value.

    Sub-pixel values are stored with the highest bit inverted. Upsampling uses their high bits.
    """
    shift = upsampling.bit_length() - 1
    stored = np.arange(1 << (x_bits + y_bits))
    x = (stored & ((1 << x_bits) - 1)) ^ (1 << x_bits >> 1)
    y = (stored >> x_bits) ^ (1 << y_bits >> 1)
    if shift == 0:
        return np.zeros(len(stored), np.int64)
    return ((y >> (y_bits - shift)) * (upsampling * nx) + (x >> (x_bits - shift))).astype(np.int64)


@Kernel
def _sum_events(  # type: ignore[no-untyped-def]
    words, run_bits, x_bits, y_bits, long_bits, ny, nx, band_rows, upsampling, places, pixels, bits, ends, image, events
):
    """Fill `image` (flat) and `events` (zeros); advance `pixels` to ny * nx, or beyond for damaged streams."""
    total = ny * nx
    event_bits = run_bits + x_bits + y_bits
    longest = (1 << run_bits) - 1
    run_mask = np.uint64(longest)
    sub_pixel_mask = np.uint64((1 << (x_bits + y_bits)) - 1)
    run_shift = np.uint64(run_bits)
    events_a_word = 64 // event_bits
    # image pixels by which the index of a row's first pixel exceeds `upsampling` times its detector index, per row
    row_step = upsampling * (upsampling - 1) * nx
    sub_pixel_and_skip = event_bits - long_bits
    for band_end in range(band_rows * nx, total + band_rows * nx, band_rows * nx):
        until = min(band_end, total)
        image[(band_end - band_rows * nx) * upsampling * upsampling : until * upsampling * upsampling] = 0
        for stream in range(len(ends)):
            pixel, bit, end = pixels[stream], bits[stream], ends[stream]
            placed = 0
            row_end = until if upsampling == 1 else pixel
            row_start = 0
            going = pixel < until
            while going:
                # load 64 bits starting at `bit`; in two shifts, because a shift by 64 is undefined
                word = bit >> 6
                down = np.uint64(bit & 63)
                chunk = (words[word] >> down) | ((words[word + 1] << np.uint64(1)) << (np.uint64(63) - down))
                for _ in range(events_a_word):
                    run = np.int64(chunk & run_mask)
                    target = pixel + run
                    if target >= until:
                        # the event belongs to a later band, or the frame ends here
                        if pixel < total:
                            if bit + run_bits > end or target > total:
                                pixel = total + 1
                            elif target == total:
                                pixel = total
                        going = False
                        break
                    # a run of all ones places no event; adding 0 is faster than a branch that is hard to predict
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
