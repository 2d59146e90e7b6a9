"""Frames held as counts: near exceptions come back bit by bit, whole, in row blocks and in parts of them."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cryofs.codecs.registry import codec_named
from cryofs.errors import DamagedError
from cryofs.formats import exception_block, mrc
from cryofs.formats.mrc import MrcHeader
from cryofs.formats.tiff_pages import PageLayout
from cryofs.kernels.from_counts import GainReference
from cryofs.movies.frame_decoder import EncodedOriginal, FrameDecoder, FrameName
from cryofs.movies.held_counts import EncodedCounts, HeldCounts
from cryofs.storage.checksums import xxh3_checksum

SHAPE = NY, NX = 40, 33
ROWS_PER_STRIP = 8
LAYOUT = PageLayout(NY, NX, np.dtype(np.uint8), codec_named("none", "none"), ROWS_PER_STRIP, None)
NAME = FrameName("movie.mrc", 0, "restore it")
# first and last value of the frame, of a strip, and neighbours
NEAR = np.array([0, 1, ROWS_PER_STRIP * NX - 1, ROWS_PER_STRIP * NX, 700, NY * NX - 1])
STEPS = np.array([1, -1, 2, -128, 127, -3], np.int8)
FAR = np.array([5, 701])


class Frame:
    """A frame with exceptions of both kinds, and what it is stored as."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        counts = rng.integers(1, 9, SHAPE).astype(np.uint8)
        gain = rng.normal(1, 0.05, SHAPE).astype(np.float32)
        self.values = counts * gain
        bits = self.values.reshape(-1).view(np.uint32)
        bits[FAR] = [0x7FC00001, 0x80000000]
        bits[NEAR] += STEPS.astype(np.uint32)
        self.page = counts[::-1]
        header = MrcHeader(mrc.new_header((1, *SHAPE), 2, None, ""), "<", NX, NY, 1, 2)
        self.decoder = FrameDecoder(LAYOUT, header, GainReference(gain))
        self.packed = exception_block.pack(FAR, bits[FAR], NEAR, STEPS)
        self.held = HeldCounts(LAYOUT, len(FAR), len(NEAR))

    def encoded(self, strips: range, near: int = len(NEAR)) -> EncodedCounts:
        pieces = {n: self.page[n * ROWS_PER_STRIP : (n + 1) * ROWS_PER_STRIP].tobytes() for n in strips}
        is_whole = len(strips) == LAYOUT.strips
        checksum = xxh3_checksum(self.values.tobytes()) if is_whole else None
        count = len(FAR) + len(NEAR)
        return EncodedCounts(self.held, EncodedOriginal(NAME, self.decoder, pieces, self.packed, count, near, checksum))

    def shown(self, decoded: NDArray[Any], start: int, size: int) -> bytes:
        reference = self.decoder.reference
        assert reference is not None
        return self.held.value_bytes(decoded, reference, start, size, None).tobytes()


@pytest.fixture(name="frame", scope="module")
def frame_with_exceptions() -> Frame:
    return Frame()


def test_near_exceptions_of_a_whole_frame(frame: Frame) -> None:
    decoded = frame.encoded(range(LAYOUT.strips)).decode()
    assert frame.shown(decoded, 0, frame.values.nbytes) == frame.values.tobytes()


@pytest.mark.parametrize("strip", range(LAYOUT.strips))
def test_near_exceptions_of_a_row_block(frame: Frame, strip: int) -> None:
    decoded = frame.encoded(range(strip, strip + 1)).decode()
    rows = LAYOUT.frame_rows(range(strip, strip + 1))
    expected = frame.values[rows].tobytes()
    assert frame.shown(decoded, 0, len(expected)) == expected


@pytest.mark.parametrize("around", NEAR.tolist())
def test_near_exceptions_in_parts_that_begin_and_end_within_values(frame: Frame, around: int) -> None:
    decoded = frame.encoded(range(LAYOUT.strips)).decode()
    expected = frame.values.tobytes()
    for start in range(max(4 * around - 5, 0), 4 * around + 4):
        for size in (1, 3, 4, 9):
            assert frame.shown(decoded, start, size) == expected[start : start + size]


def test_a_wrong_number_of_near_exceptions_is_damage(frame: Frame) -> None:
    with pytest.raises(DamagedError, match="exceptions"):
        frame.encoded(range(LAYOUT.strips), near=len(NEAR) - 1).decode()


def test_a_wrong_step_is_damage(frame: Frame) -> None:
    encoded = frame.encoded(range(LAYOUT.strips))
    packed = bytearray(encoded.original.packed)
    packed[-1] ^= 1
    wrong = EncodedOriginal(**{**vars(encoded.original), "packed": bytes(packed)})
    with pytest.raises(DamagedError, match="checksum mismatch in the decoded frame"):
        EncodedCounts(frame.held, wrong).decode()
