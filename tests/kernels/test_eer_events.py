"""Rendering of events, compared with a plain decoder."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.simulate_eer import Events, Widths, encode, random_events
from cryofs.kernels import eer_events
from tests import plain_eer

WIDTHS = {
    "8 bits, 65000": Widths(8, 2, 2, 65000),
    "8 bits, 65000, short overflow": Widths(8, 2, 2, 65000, overflow=8),
    "7 + 1 + 1, long overflow": Widths(7, 1, 1, 65002, overflow=9),
    "7 bits, 65001": Widths(7, 2, 2, 65001),
    "7 + 1 + 1": Widths(7, 1, 1, 65002),
    "8 + 2 + 2 in tags": Widths(8, 2, 2, 65002),
    "5 + 3 + 1": Widths(5, 3, 1, 65002),
    "1 + 2 + 2": Widths(1, 2, 2, 65002),
    "12 + 0 + 0": Widths(12, 0, 0, 65002),
    "16 + 8 + 8": Widths(16, 8, 8, 65002),
}
UPSAMPLINGS = (1, 2, 4)
widths_of_any_kind = st.sampled_from(list(WIDTHS.values()))
shapes = st.tuples(st.integers(1, 12), st.integers(1, 60))


def render(
    streams: list[bytes], shape: tuple[int, int], widths: Widths, upsampling: int = 1
) -> eer_events.SummedEvents:
    """Render streams, laid out as in a file."""
    padded = [stream.ljust(-(-len(stream) // 8) * 8, b"\xff") for stream in streams]
    starts = 8 * np.cumsum([0, *map(len, padded)])[:-1]
    ends = starts + [8 * len(stream) for stream in streams]
    words = np.frombuffer(b"".join(padded) + bytes(16), np.uint64)
    code = (widths.run, widths.x, widths.y, widths.long_bits)
    return eer_events.sum_events(words, starts.astype(np.int64), ends.astype(np.int64), shape, code, upsampling)


def highest_upsampling(widths: Widths) -> int:
    return 1 << min(2, widths.x, widths.y)


@st.composite
def whole_frames(draw: st.DrawFn, shape: tuple[int, int], widths: Widths) -> bytes:
    total = shape[0] * shape[1]
    pixels = sorted(draw(st.sets(st.integers(0, total - 1), max_size=total)))
    count = len(pixels)
    x = draw(st.lists(st.integers(0, 2**widths.x - 1), min_size=count, max_size=count))
    y = draw(st.lists(st.integers(0, 2**widths.y - 1), min_size=count, max_size=count))
    chosen = Events(np.array(pixels, np.int64), np.array(x, np.int64), np.array(y, np.int64))
    return encode(chosen, total, widths)


def compare(streams: list[bytes], shape: tuple[int, int], widths: Widths, upsampling: int) -> None:
    """Assert that rendered streams equal the result of the plain decoder, without damaged streams."""
    plain = [plain_eer.decode(stream, shape[0] * shape[1], widths) for stream in streams]
    found = render(streams, shape, widths, upsampling)
    assert found.events.tolist() == [-1 if one is None else len(one) for one in plain]
    expected: NDArray[np.int64] = np.zeros(found.image.shape, np.int64)
    for one in plain:
        if one is not None:
            expected += plain_eer.image(one, shape, upsampling, widths)
    np.testing.assert_array_equal(found.image, expected)


def test_the_vector_of_the_specification() -> None:
    stream = bytes.fromhex("031bfcb135fb")
    # a detector of 312 pixels ends with the last of the four events
    found = render([stream], (1, 312), WIDTHS["7 + 1 + 1"])
    assert np.flatnonzero(found.image).tolist() == [3, 17, 233, 311]
    assert found.events.tolist() == [4]
    assert [event.pixel for event in plain_eer.decode(stream, 312, WIDTHS["7 + 1 + 1"]) or []] == [3, 17, 233, 311]


@given(st.data(), shapes, widths_of_any_kind, st.integers(1, 4))
def test_intact_frames(data: st.DataObject, shape: tuple[int, int], widths: Widths, count: int) -> None:
    streams = [data.draw(whole_frames(shape, widths)) for _ in range(count)]
    upsampling = data.draw(st.sampled_from([up for up in UPSAMPLINGS if up <= highest_upsampling(widths)]))
    found = render(streams, shape, widths, upsampling)
    assert (found.events >= 0).all()
    compare(streams, shape, widths, upsampling)


@given(st.data(), shapes, widths_of_any_kind, st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_any_bytes(data: st.DataObject, shape: tuple[int, int], widths: Widths, streams: list[bytes]) -> None:
    streams = [*streams, data.draw(whole_frames(shape, widths))]
    compare(streams, shape, widths, highest_upsampling(widths))


@given(st.data(), shapes, widths_of_any_kind)
def test_a_truncated_frame_contributes_no_events(data: st.DataObject, shape: tuple[int, int], widths: Widths) -> None:
    stream = data.draw(whole_frames(shape, widths))
    cut = stream[: data.draw(st.integers(0, len(stream)))]
    compare([stream, cut, stream], shape, widths, 1)


@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS.keys())
def test_an_event_in_the_last_pixel(widths: Widths) -> None:
    total = 35
    every = Events(np.arange(total), np.zeros(total, np.int64), np.zeros(total, np.int64))
    stream = encode(every, total, widths)
    assert render([stream], (5, 7), widths).events.tolist() == [total]
    # the run length after the last event is optional: the pixel of the event ends the frame
    without_end = stream[: -(-total * (widths.run + widths.x + widths.y) // 8)]
    compare([without_end], (5, 7), widths, 1)


@pytest.mark.parametrize(("count", "dtype"), [(255, "uint8"), (256, "uint16"), (300, "uint16"), (65536, "uint32")])
def test_sums_never_wrap(count: int, dtype: str) -> None:
    widths = WIDTHS["7 bits, 65001"]
    stream = encode(Events(np.array([4]), np.array([3]), np.array([1])), 6, widths)
    found = render([stream] * count, (2, 3), widths)
    assert found.image.dtype == dtype
    assert found.image.tolist() == [[0, 0, 0], [0, count, 0]]


def test_row_blocks_form_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = WIDTHS["7 bits, 65001"]
    rng = np.random.default_rng(0)
    shape = (50, 33)
    streams = []
    for _ in range(6):
        pixels = np.flatnonzero(rng.random(shape[0] * shape[1]) < 0.01)
        sub_pixels = rng.integers(0, 4, (2, len(pixels)))
        streams.append(encode(Events(pixels, *sub_pixels), shape[0] * shape[1], widths))
    whole = {up: render(streams, shape, widths, up).image for up in UPSAMPLINGS}
    monkeypatch.setattr(eer_events, "_BAND_BYTES", 1)
    for up in UPSAMPLINGS:
        np.testing.assert_array_equal(render(streams, shape, widths, up).image, whole[up])
        compare(streams, shape, widths, up)


@pytest.mark.parametrize("mean", [0.0005, 0.02, 0.4, 5.0])
@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS.keys())
def test_streams_of_many_codes(widths: Widths, mean: float) -> None:
    rng = np.random.default_rng(1)
    shape = (60, 70)
    total = shape[0] * shape[1]
    whole = [encode(random_events(rng, shape, mean, widths), total, widths) for _ in range(3)]
    streams = [whole[0], whole[1][: len(whole[1]) // 2], rng.bytes(2000), whole[1], b"\xff" * 3000, bytes(9), whole[2]]
    for upsampling in UPSAMPLINGS:
        if upsampling <= highest_upsampling(widths):
            compare(streams, shape, widths, upsampling)
    # streams are decoded in pairs, so the last one of an odd number is alone
    compare(streams[::-1][:4], shape, widths, 1)
    assert render(whole, shape, widths).events.min() >= 0


def test_an_empty_group_gives_an_empty_image() -> None:
    assert not render([], (3, 4), WIDTHS["7 bits, 65001"]).image.any()


def test_kernels_stay_in_bounds(tmp_path: object) -> None:
    """Run the tests above while numba checks every index."""
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not stay_in_bounds", __file__],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
