"""A plain decoder of event streams, bit by bit, as in the EER specification; the kernels are compared with it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulate_eer import Widths


@dataclass(frozen=True)
class PlainEvent:
    """An event: flat pixel index, and sub-pixel values with the highest bit turned right."""

    pixel: int
    x: int
    y: int


@dataclass(frozen=True)
class PlainFrame:
    """An intact frame: its events, and the number of bits that follow the last event or run of all ones."""

    events: list[PlainEvent]
    unread: int


def decode(data: bytes, total: int, widths: Widths) -> list[PlainEvent] | None:
    """Events of a frame of `total` pixels, None where it is damaged."""
    frame = decode_frame(data, total, widths)
    return frame.events if frame is not None else None


def decode_frame(data: bytes, total: int, widths: Widths) -> PlainFrame | None:
    """A frame of `total` pixels, None where it is damaged."""
    bits = [byte >> place & 1 for byte in data for place in range(8)]
    position = 0

    def take(count: int) -> int:
        nonlocal position
        if position + count > len(bits):
            raise EOFError
        value = sum(bit << place for place, bit in enumerate(bits[position : position + count]))
        position += count
        return value

    events = []
    pixel = last = 0
    try:
        while pixel != total:
            run = take(widths.run)
            pixel += run
            if pixel > total:
                return None
            if pixel == total:
                break
            if run == 2**widths.run - 1:
                take(widths.long_bits - widths.run)
                last = position
                continue
            x, y = take(widths.x), take(widths.y)
            events.append(PlainEvent(pixel, x ^ (1 << widths.x >> 1), y ^ (1 << widths.y >> 1)))
            pixel += 1
            last = position
    except EOFError:
        return None
    return PlainFrame(events, len(bits) - last)


def image(events: list[PlainEvent], shape: tuple[int, int], upsampling: int, widths: Widths) -> NDArray[np.int64]:
    """Image of a frame on the grid of this upsampling."""
    ny, nx = shape
    result = np.zeros((ny * upsampling, nx * upsampling), np.int64)
    for event in events:
        row, column = divmod(event.pixel, nx)
        y = event.y * upsampling >> widths.y if upsampling > 1 else 0
        x = event.x * upsampling >> widths.x if upsampling > 1 else 0
        result[row * upsampling + y, column * upsampling + x] += 1
    return result
