"""MRC files: every mode and byte order keeps its bytes, and every broken header raises FormatError."""

import contextlib
import math
import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any, Literal

import mrcfile
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.simulate import header
from cryofs.errors import FormatError
from cryofs.formats import mrc
from cryofs.formats.mrc import MrcHeader
from tests.conftest import open_bytes

# mode: type of a value, bytes per row of 7 columns
MODES = {
    0: ("int8", 7),
    1: ("int16", 14),
    2: ("float32", 28),
    6: ("uint16", 14),
    12: ("float16", 14),
    101: ("uint8", 4),
}
ORDERS: tuple[Literal["<", ">"], ...] = ("<", ">")
INT32 = st.integers(-(2**31), 2**31 - 1)


def parse(data: bytes, size: int | None = None) -> MrcHeader:
    """Parse the header of a file with this content and a reported size of `size` bytes."""
    with open_bytes(data, "movie.mrc", size) as source:
        return mrc.read_header(source)


def patched(offset: int, layout: str, *values: float, order: str = "<") -> bytes:
    """Return a movie of 2 frames of 3 x 5 float32 with the header fields at `offset` replaced."""
    data = bytearray(header((2, 3, 5), 2, byte_order=order) + bytes(2 * 3 * 5 * 4))
    struct.pack_into(order + layout, data, offset, *values)
    return bytes(data)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("mode", MODES)
def test_header_of_every_mode(mode: int, order: str) -> None:
    dtype, row_bytes = MODES[mode]
    main = header((4, 3, 7), mode, byte_order=order)
    found = parse(main + bytes(4 * 3 * row_bytes))
    assert (found.raw, found.byte_order, found.mode) == (main, order, mode)
    assert (found.nx, found.ny, found.nz, found.shape) == (7, 3, 4, (4, 3, 7))
    assert found.dtype == np.dtype(dtype)
    assert found.dtype.isnative
    assert (found.row_bytes, found.frame_bytes) == (row_bytes, 3 * row_bytes)
    assert found.data_end == 1024 + 4 * 3 * row_bytes
    assert found.extended_type == ""


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("kind", "size"), [("FEI1", 786432), ("FEI2", 909312), ("SERI", 48), ("", 7)])
def test_extended_header_is_kept(kind: str, size: int, order: str) -> None:
    whole = header((1, 2, 3), 0, byte_order=order, extended=os.urandom(size), kind=kind.encode())
    found = parse(whole + bytes(6))
    assert found.raw == whole
    assert found.extended_type == kind
    assert found.data_end == 1024 + size + 6


@pytest.mark.parametrize("stamp", [b"\0\0\0\0", b"\x44\x44\0\0", b"\x11\x11\0\0", b"\xff\xff\xff\xff"])
@pytest.mark.parametrize("order", ORDERS)
def test_byte_order_is_detected_for_any_machine_stamp(order: str, stamp: bytes) -> None:
    found = parse(patched(212, "4s", stamp, order=order))  # type: ignore[arg-type]
    assert (found.byte_order, found.shape) == (order, (2, 3, 5))


@settings(max_examples=200)
@given(st.sampled_from(list(MODES)), st.sampled_from(ORDERS), st.integers(1, 5), st.integers(1, 9), st.data())
def test_bytes_to_values_to_bytes(mode: int, order: Literal["<", ">"], ny: int, nx: int, data: st.DataObject) -> None:
    found = MrcHeader(b"", order, nx, ny, 1, mode)
    raw = np.frombuffer(data.draw(st.binary(min_size=found.frame_bytes, max_size=found.frame_bytes)), np.uint8)
    values = mrc.frame_values(raw, found)
    assert values.dtype == found.dtype
    assert values.shape == (ny, nx + nx % 2 if mode == 101 else nx)
    assert mrc.frame_raw(values, found).tobytes() == raw.tobytes()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != 101])
def test_values_are_decoded_from_bytes(mode: int, order: Literal["<", ">"]) -> None:
    expected = np.array([[1, 2, 100], [0, 5, 127]], MODES[mode][0])
    raw = np.frombuffer(expected.astype(expected.dtype.newbyteorder(order)).tobytes(), np.uint8)
    assert np.array_equal(mrc.frame_values(raw, MrcHeader(b"", order, 3, 2, 1, mode)), expected)


def test_the_low_nibble_comes_first() -> None:
    raw = np.array([0x21, 0xF3, 0x54, 0x06], np.uint8)
    values = mrc.frame_values(raw, MrcHeader(b"", "<", 3, 2, 1, 101))
    assert values.tolist() == [[1, 2, 3, 15], [4, 5, 6, 0]]


@pytest.mark.parametrize("mode", MODES)
def test_one_byte_too_few_is_truncated(mode: int) -> None:
    data = header((2, 3, 7), mode, extended=b"12345") + bytes(2 * 3 * MODES[mode][1])
    assert parse(data).nz == 2
    with pytest.raises(FormatError, match=r"movie\.mrc: truncated, 1 bytes missing"):
        parse(data[:-1])


def test_bytes_after_the_last_frame_are_allowed() -> None:
    assert parse(patched(0, "") + b"more").data_end == 1024 + 2 * 3 * 5 * 4


@pytest.mark.parametrize("size", [0, 1, 1023])
def test_less_than_a_header(size: int) -> None:
    with pytest.raises(FormatError, match="too short"):
        parse(bytes(size))


@pytest.mark.parametrize("value", [0, -1, -(2**31)])
@pytest.mark.parametrize("offset", [0, 4, 8], ids=["nx", "ny", "nz"])
def test_sizes_below_one(offset: int, value: int) -> None:
    with pytest.raises(FormatError, match=r"movie\.mrc"):
        parse(patched(offset, "i", value))


@pytest.mark.parametrize("mode", [-1, 3, 4, 5, 7, 16, 100, 102, 2**31 - 1])
def test_unknown_modes(mode: int) -> None:
    with pytest.raises(FormatError, match=r"movie\.mrc"):
        parse(patched(12, "i", mode))


@pytest.mark.parametrize("nsymbt", [-1, -(2**31), (64 << 20) + 1, 2**31 - 1])
def test_invalid_extended_header_sizes(nsymbt: int) -> None:
    with pytest.raises(FormatError, match=r"movie\.mrc"):
        parse(patched(92, "i", nsymbt), size=1 << 40)


@pytest.mark.parametrize(("nx", "fits"), [(1 << 15, True), ((1 << 15) + 1, False)])
def test_frames_larger_than_those_of_any_camera(nx: int, fits: bool) -> None:
    data = patched(0, "3i", nx, 1 << 15, 1)
    if fits:
        assert parse(data, 1 << 40).frame_bytes == 1 << 32
    else:
        with pytest.raises(
            FormatError, match=r"movie\.mrc: unsupported frame size .*32768 x 32769 .*keep this file outside"
        ):
            parse(data, 1 << 40)


def test_extended_header_of_a_file_that_shrinks() -> None:
    with pytest.raises(FormatError, match="truncated extended header"):
        parse(patched(92, "i", 1 << 20), size=1 << 40)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_allocated_for_invalid_sizes(mode: int) -> None:
    data = patched(0, "4i", 2**31 - 1, 2**31 - 1, 2**31 - 1, mode)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="truncated"):
            parse(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@given(st.binary(min_size=1024, max_size=2048))
def test_garbage_is_rejected_or_consistent(data: bytes) -> None:
    check_consistent(data)


@settings(max_examples=300)
@given(
    st.lists(st.one_of(st.integers(-2, 12), INT32), min_size=3, max_size=3),
    st.one_of(st.sampled_from(list(MODES)), INT32),
    st.one_of(st.integers(-2, 2000), INT32),
    st.tuples(INT32, st.binary(min_size=4, max_size=4)),
    st.sampled_from([b"\x44", b"\x11", b"\0"]),
    st.sampled_from(ORDERS),
)
def test_headers_of_random_fields_are_rejected_or_consistent(
    sizes: list[int], mode: int, nsymbt: int, cell: tuple[int, bytes], stamp: bytes, order: str
) -> None:
    data = bytearray(4096)
    struct.pack_into(order + "4i", data, 0, *sizes, mode)
    struct.pack_into(order + "i", data, 28, cell[0])
    data[40:44] = cell[1]
    struct.pack_into(order + "i", data, 92, nsymbt)
    data[212:213] = stamp
    check_consistent(bytes(data))


def check_consistent(data: bytes) -> None:
    """Assert that a header is rejected, or specifies no more bytes than the file has."""
    with contextlib.suppress(FormatError):
        found = parse(data)
        assert min(found.shape) > 0
        assert data.startswith(found.raw)
        assert found.data_end <= len(data)
        assert found.pixel_size is None or 0 < found.pixel_size < math.inf


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("mx", "cell", "expected"),
    [
        (100, 106.0, 1.06),
        (1, 0.5, 0.5),
        (0, 106.0, None),
        (-5, 106.0, None),
        (100, 0.0, None),
        (100, -1.0, None),
        (100, math.nan, None),
        (100, math.inf, None),
    ],
)
def test_pixel_size(mx: int, cell: float, expected: float | None, order: Literal["<", ">"]) -> None:
    data = bytearray(patched(28, "i", mx, order=order))
    struct.pack_into(order + "f", data, 40, cell)
    assert parse(bytes(data)).pixel_size == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(("pixel_size", "shown"), [(1.06, 1.06), (None, 1.0)])
def test_gain_header_is_valid_to_mrcfile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pixel_size: float | None, shown: float
) -> None:
    path = tmp_path / "gain-reference.mrc"
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    path.write_bytes(mrc.new_header((1, 3, 4), 2, pixel_size, "gain of µ-camera") + values.tobytes())
    assert mrcfile.validate(path), capsys.readouterr().out
    with mrcfile.open(path) as file:
        data: Any = file.data
        assert np.array_equal(data, values)
        assert data.dtype == np.float32
        assert file.voxel_size.x == pytest.approx(shown)
        assert file.voxel_size.y == pytest.approx(shown)
        assert [label.rstrip() for label in file.get_labels()] == ["gain of ?-camera"]


@given(st.integers(1, 20000), st.integers(1, 20000), st.integers(1, 2**31 - 1), st.floats(0, width=32))
@example(1, 4096, 1, 1e38)
def test_gain_header_accepts_any_pixel_size_of_a_movie(ny: int, nx: int, mx: int, cell: float) -> None:
    data = bytearray(patched(28, "i", mx))
    struct.pack_into("<f", data, 40, cell)
    found = parse(mrc.new_header((1, ny, nx), 2, parse(bytes(data)).pixel_size, ""), size=1 << 40)
    assert (found.shape, found.mode) == ((1, ny, nx), 2)


def test_a_header_of_mode_0_made_from_another_has_signed_bytes() -> None:
    """Counts are signed, whatever IMOD's flag says of the original, in which it has no meaning."""
    raw = bytearray(header((2, 4, 4), 2))
    struct.pack_into("<2i", raw, 152, 1146047817, 0)
    made = mrc.with_mode(mrc.MrcHeader(bytes(raw), "<", 4, 4, 2, 2), 0)
    assert struct.unpack_from("<2i", made.raw, 152) == (1146047817, 1)
    assert made.value_dtype == np.int8
