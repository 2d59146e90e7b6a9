"""Decode event streams into an image, band by band: in batches of codes, and code by code at the ends.

A code begins where the previous code ends, and a run length of all ones has fewer bits than an event, so decoding one
code at a time would wait for the previous code each time. Therefore a batch first finds all run lengths of all ones in
64 bits with a few operations; after that, a single shift leads from one code to the next. If two streams are decoded
alternately, the processor does not wait for this shift either.

Memory safety: a batch begins only where neither the stream nor the band can end inside the batch; elsewhere, each code
is checked. All functions are in this file, because a kernel is compiled again only if its own file changes.
"""

import numpy as np
from numpy.typing import NDArray

from cryofs.kernels.object_code import Kernel, inlined

# Number of bits that are decoded together.
_BATCH_BITS = 64
# Supported sizes of run lengths in bits: three steps (pairs, fours, overlapping fours) find whether all bits are ones.
_RUN_BITS = range(5, 9)


def batch_layout(run_bits: int, sub_pixel_bits: int, long_bits: int) -> NDArray[np.uint64]:
    """Return the parameters of batches for an event layout, shape (8,).

    The last parameter is the number of codes in a batch, which is 0 if the layout is not supported.
    """
    skipped = run_bits + sub_pixel_bits - long_bits
    is_supported = run_bits in _RUN_BITS and skipped & (skipped - 1) == 0
    codes = _BATCH_BITS // (run_bits + sub_pixel_bits) if is_supported else 0
    shift = max(skipped, 1).bit_length() - 1
    last_step = max(run_bits - 4, 0)
    masks = (1 << run_bits) - 1, (1 << sub_pixel_bits) - 1
    return np.array([run_bits, long_bits, skipped, shift, last_step, *masks, codes], np.uint64)


@inlined
def _decode_batch(  # type: ignore[no-untyped-def]
    words, layout, upsampling, places, nx, image, pixel, bit, row_end, row_start
):
    """Place the events of the batch at `bit`; return the next pixel and bit, the number of events, and the row."""
    run_bits, long_bits, skipped, shift = layout[0], layout[1], layout[2], layout[3]
    last_step, run_mask, sub_pixel_mask, codes = layout[4], layout[5], layout[6], layout[7]
    one = np.uint64(1)
    word, down = bit >> np.uint64(6), bit & np.uint64(63)
    # two shifts, because a shift by 64 is undefined
    chunk = (words[word] >> down) | ((words[word + one] << one) << (np.uint64(63) - down))
    ones = chunk & (chunk >> one)
    ones &= ones >> np.uint64(2)
    ones &= ones >> last_step
    # bit `shift` is set if the run length at the present position belongs to an event; masked, it is the added bits
    is_event = ~ones << shift
    used, placed = np.uint64(0), np.uint64(0)
    for _ in range(codes):
        placing = (is_event >> shift) & one
        taken = long_bits + (is_event & skipped)
        code = chunk >> used
        target = pixel + (code & run_mask)
        if upsampling == one:
            image[target] += image.dtype.type(placing)
        else:
            if target >= row_end:
                row = target // nx
                row_end = (row + one) * nx
                row_start = row * (upsampling * (upsampling - one) * nx)
            sub_pixel = (code >> run_bits) & sub_pixel_mask
            image[upsampling * target + row_start + places[sub_pixel]] += image.dtype.type(placing)
        pixel = target + placing
        placed += placing
        used += taken
        is_event >>= taken
    return pixel, bit + used, placed, row_end, row_start


@inlined
def _last_starts(layout, until, end):  # type: ignore[no-untyped-def]
    """Return the limits for the start of a batch: first invalid pixel and last valid bit, or zeros if none fits."""
    reach = np.int64(layout[7] * (layout[5] + np.uint64(1)))
    if reach == 0 or until <= reach or end < _BATCH_BITS:
        return np.uint64(0), np.uint64(0)
    return np.uint64(until - reach), np.uint64(end - _BATCH_BITS)


@inlined
def _decode_stream(  # type: ignore[no-untyped-def]
    words, layout, upsampling, places, nx, until, image, pixel, bit, end
):
    """Place events of a stream in batches up to near pixel `until`; return the next pixel and bit, and the events."""
    pixel_limit, bit_limit = _last_starts(layout, until, end)
    pixel, bit = np.uint64(pixel), np.uint64(bit)
    placed, row_end, row_start = np.uint64(0), np.uint64(0), np.uint64(0)
    while pixel < pixel_limit and bit <= bit_limit:
        pixel, bit, count, row_end, row_start = _decode_batch(
            words, layout, upsampling, places, nx, image, pixel, bit, row_end, row_start
        )
        placed += count
    return np.int64(pixel), np.int64(bit), np.int64(placed)


@inlined
def _decode_two_streams(  # type: ignore[no-untyped-def]
    words, layout, places, nx, until, image, first, second, pixels, bits, ends, events
):
    """Place events of two streams in batches, without upsampling, up to near pixel `until`.

    The function advances `pixels`, `bits` and `events` of both streams. It does not support upsampling, because memory
    then limits the speed, so that decoding two streams alternately would not be faster.
    """
    one, zero = np.uint64(1), np.uint64(0)
    pixel_limit, bit_limit = _last_starts(layout, until, ends[first])
    other_pixel_limit, other_bit_limit = _last_starts(layout, until, ends[second])
    pixel, bit, placed = np.uint64(pixels[first]), np.uint64(bits[first]), zero
    other_pixel, other_bit, other_placed = np.uint64(pixels[second]), np.uint64(bits[second]), zero
    while pixel < pixel_limit and bit <= bit_limit and other_pixel < other_pixel_limit and other_bit <= other_bit_limit:
        pixel, bit, count, _, _ = _decode_batch(words, layout, one, places, nx, image, pixel, bit, zero, zero)
        placed += count
        other_pixel, other_bit, count, _, _ = _decode_batch(
            words, layout, one, places, nx, image, other_pixel, other_bit, zero, zero
        )
        other_placed += count
    pixels[first], bits[first] = np.int64(pixel), np.int64(bit)
    pixels[second], bits[second] = np.int64(other_pixel), np.int64(other_bit)
    events[first] += np.int64(placed)
    events[second] += np.int64(other_placed)


@inlined
def _decode_to_end(  # type: ignore[no-untyped-def]
    words, code, upsampling, places, nx, total, until, image, pixel, bit, end
):
    """Place the events of a stream before pixel `until`, with a check of each code.

    Returns the next pixel and bit, and the number of events. After the end of the frame, the pixel is `total`, or
    larger if the stream is damaged.
    """
    run_bits, x_bits, y_bits, long_bits = code[0], code[1], code[2], code[3]
    event_bits = run_bits + x_bits + y_bits
    longest = (1 << run_bits) - 1
    run_mask = np.uint64(longest)
    sub_pixel_mask = np.uint64((1 << (x_bits + y_bits)) - 1)
    run_shift = np.uint64(run_bits)
    # for each row, image pixels by which the index of its first pixel exceeds `upsampling` times its detector index
    row_step = upsampling * (upsampling - 1) * nx
    placed = 0
    row_end = until if upsampling == 1 else pixel
    row_start = 0
    while pixel < until:
        # loads 64 bits starting at `bit`; two shifts, because a shift by 64 is undefined
        word = bit >> 6
        down = np.uint64(bit & 63)
        chunk = (words[word] >> down) | ((words[word + 1] << np.uint64(1)) << (np.uint64(63) - down))
        for _ in range(64 // event_bits):
            run = np.int64(chunk & run_mask)
            target = pixel + run
            if target >= until:
                # the event belongs to a later band, or the frame ends here
                if pixel < total:
                    if bit + run_bits > end or target > total:
                        pixel = total + 1
                    elif target == total:
                        pixel = total
                return pixel, bit, placed
            # a run of all ones places no event; adding 0 is faster than an unpredictable branch
            placing = int(run != longest)
            taken = long_bits + placing * (event_bits - long_bits)
            bit += taken
            if bit > end:
                return total + 1, bit, placed
            if target >= row_end:
                row = target // nx
                row_end = (row + 1) * nx
                row_start = row * row_step
            place = np.int64(places[np.int64((chunk >> run_shift) & sub_pixel_mask)])
            image[upsampling * target + row_start + place] += image.dtype.type(placing)
            placed += placing
            pixel = target + placing
            chunk >>= np.uint64(taken)
    return pixel, bit, placed


@Kernel
def sum_streams(  # type: ignore[no-untyped-def]
    words, code, layout, ny, nx, band_rows, upsampling, places, pixels, bits, ends, image, events
):
    """Add all events to `image` (flat), and count them in `events`, which must contain zeros.

    The function advances `pixels` to ny * nx for intact streams, and to larger values for damaged streams.
    """
    total = ny * nx
    columns, scale = np.uint64(nx), np.uint64(upsampling)
    for band_end in range(band_rows * nx, total + band_rows * nx, band_rows * nx):
        until = min(band_end, total)
        image[(band_end - band_rows * nx) * upsampling * upsampling : until * upsampling * upsampling] = 0
        if upsampling == 1:
            for stream in range(0, len(ends) - 1, 2):
                _decode_two_streams(
                    words, layout, places, columns, until, image, stream, stream + 1, pixels, bits, ends, events
                )
        for stream in range(len(ends)):
            pixel, bit, placed = _decode_stream(
                words, layout, scale, places, columns, until, image, pixels[stream], bits[stream], ends[stream]
            )
            pixel, bit, more = _decode_to_end(
                words, code, upsampling, places, nx, total, until, image, pixel, bit, ends[stream]
            )
            pixels[stream], bits[stream] = pixel, bit
            events[stream] += placed + more
