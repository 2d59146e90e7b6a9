"""Pixels narrower than the rarest values: when that is chosen, what TIFF readers see, and that nothing is lost."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import cryofs
from benchmarks.simulate import header
from cryofs.archive.info import describe
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.plan import Coding
from cryofs.config.choices import NarrowChoice
from tests.support import DETECTOR, Reported, archive, movie_values, restored

DTYPES = {0: "i1", 1: "i2", 6: "u2"}
FRAMES, NY, NX = SHAPE = (9, 300, 257)
# pixels of a frame that are rare, and that are so many that wider pixels are smaller
FEW, MANY = 20, 1500
# frames of which no row is looked at before the movie is planned
UNSEEN = (1, 2, 3, 5, 6, 7)


def movie_bytes(values: NDArray[Any], mode: int, byte_order: str = "<") -> bytes:
    shape: Any = values.shape
    ordered = values.astype(np.dtype(DTYPES[mode]).newbyteorder(byte_order))  # type: ignore[arg-type]
    return header(shape, mode, byte_order=byte_order) + ordered.tobytes()


def counts() -> NDArray[np.int64]:
    return np.random.default_rng(0).poisson(1, SHAPE).astype(np.int64)


def sprinkled(
    values: NDArray[np.int64], others: Sequence[int], number: int, frames: Sequence[int] = range(FRAMES)
) -> NDArray[np.int64]:
    """Values with `number` pixels of some frames set to others in turn."""
    rng = np.random.default_rng(1)
    values = values.copy()
    for frame in frames:
        places = rng.choice(values[frame].size, number, replace=False)
        values[frame].reshape(-1)[places] = np.resize(others, number)
    return values


def compressed(folder: Path, data: bytes, narrow: NarrowChoice) -> tuple[Path, Reported]:
    """An archived movie that was found to come back byte for byte, and through Python value for value."""
    movie = folder / "movie.mrc"
    movie.write_bytes(data)
    _, reported = archive(movie, folder / narrow, CompressOptions(coding=Coding(narrow=narrow), jobs=2))
    assert not reported.errors
    assert reported.counted_frames == reported.expected_frames
    target = folder / narrow / "movie.mrc.tif"
    assert (restored(folder / narrow, folder / "restored") / "movie.mrc").read_bytes() == data
    with cryofs.open(movie) as original, cryofs.open(target) as archived:
        for one, other in zip(original.frames(), archived.frames(), strict=True):
            assert np.array_equal(one, other)
    return target, reported


def as_tiff_readers_see_it(target: Path) -> NDArray[Any]:
    """Pages with their rows in the order of the movie."""
    pages: NDArray[Any] = tifffile.imread(target)
    return pages[:, ::-1]


def exceptions(target: Path) -> int:
    number: int = describe(target)["exceptions"]
    return number


@pytest.mark.parametrize(
    ("mode", "rare", "auto", "exact", "never"),
    [
        (0, [100, 127], "uint8", "uint8", "uint8"),
        (0, [-128, -1, 127], "int8", "int8", "int8"),
        (1, [256, 32767], "uint8", "uint16", "uint16"),
        (1, [-1, -32768, 32767], "uint8", "int16", "int16"),
        (6, [255, 256, 65535], "uint8", "uint16", "uint16"),
    ],
)
def test_rare_values_do_not_widen_pixels_unless_requested(
    tmp_path: Path, mode: int, rare: list[int], auto: str, exact: str, never: str
) -> None:
    values = sprinkled(counts(), rare, FEW)
    data = movie_bytes(values, mode)
    choices: list[tuple[NarrowChoice, str]] = [("auto", auto), ("exact", exact), ("never", never)]
    for narrow, dtype in choices:
        target, _ = compressed(tmp_path, data, narrow)
        pages = as_tiff_readers_see_it(target)
        limits = np.iinfo(dtype)
        clipped = values.clip(limits.min, limits.max)
        assert pages.dtype == dtype
        assert np.array_equal(pages, clipped)
        assert exceptions(target) == np.count_nonzero(clipped != values)


def test_rare_values_do_not_widen_signed_pixels(tmp_path: Path) -> None:
    noise = np.rint(np.random.default_rng(0).normal(0, 3, SHAPE)).astype(np.int64)
    values = sprinkled(noise, [200, -300], FEW)
    target, _ = compressed(tmp_path, movie_bytes(values, 1), "auto")
    pages = as_tiff_readers_see_it(target)
    assert pages.dtype == np.int8
    assert np.array_equal(pages, values.clip(-128, 127))


def test_rare_values_of_a_big_endian_movie_come_back(tmp_path: Path) -> None:
    values = sprinkled(counts(), [-2, 500], FEW)
    target, _ = compressed(tmp_path, movie_bytes(values, 1, ">"), "auto")
    assert as_tiff_readers_see_it(target).dtype == np.uint8


@pytest.mark.parametrize(("narrow", "dtype"), [("auto", "uint8"), ("exact", "uint16"), ("never", "uint16")])
def test_rare_large_counts_of_gain_normalised_movies_are_no_different(
    tmp_path: Path, narrow: NarrowChoice, dtype: str
) -> None:
    bright = sprinkled(np.zeros(SHAPE, np.int64), [300, 5000], FEW)
    values = np.where(bright, (bright * DETECTOR.gain).astype(np.float32), movie_values(FRAMES))
    reference = tmp_path / "mine.mrc"
    reference.write_bytes(header((1, NY, NX), 2) + DETECTOR.gain.tobytes())
    (tmp_path / "movie.mrc").write_bytes(header(SHAPE, 2) + values.tobytes())
    archive(
        tmp_path / "movie.mrc",
        tmp_path / "archive",
        CompressOptions(gain=reference, coding=Coding(narrow=narrow)),
    )
    target = tmp_path / "archive" / "movie.mrc.tif"
    pages = as_tiff_readers_see_it(target)
    assert pages.dtype == dtype
    assert np.array_equal(pages[bright > 0], bright[bright > 0].clip(0, np.iinfo(dtype).max))
    with cryofs.open(target) as archived:
        assert np.array_equal(np.stack(list(archived.frames())), values)


@pytest.mark.parametrize(
    ("mode", "others", "dtype"), [(0, [-1], "int8"), (0, [127], "uint8"), (1, [255], "uint8"), (1, [-128], "int8")]
)
def test_values_of_eight_bits_are_stored_alike_by_auto_and_exact(
    tmp_path: Path, mode: int, others: list[int], dtype: str
) -> None:
    values = sprinkled(counts(), others, MANY)
    data = movie_bytes(values, mode)
    choices: list[NarrowChoice] = ["auto", "exact"]
    for narrow in choices:
        target, _ = compressed(tmp_path, data, narrow)
        pages = as_tiff_readers_see_it(target)
        assert pages.dtype == dtype
        assert np.array_equal(pages, values)
        assert exceptions(target) == 0


@pytest.mark.parametrize(
    ("mode", "others", "dtype"), [(1, [300], "uint16"), (1, [300, -300], "int16"), (6, [40000], "uint16")]
)
def test_many_large_values_widen_pixels(tmp_path: Path, mode: int, others: list[int], dtype: str) -> None:
    values = sprinkled(counts(), others, MANY)
    target, _ = compressed(tmp_path, movie_bytes(values, mode), "auto")
    pages = as_tiff_readers_see_it(target)
    assert pages.dtype == dtype
    assert np.array_equal(pages, values)
    assert exceptions(target) == 0


@pytest.mark.parametrize(
    ("mode", "others", "dtype"),
    [(1, [300], "uint16"), (1, [-3], "int8"), (1, [300, -3], "int16"), (6, [300], "uint16")],
)
def test_many_large_values_that_come_later_widen_pixels_too(
    tmp_path: Path, mode: int, others: list[int], dtype: str
) -> None:
    values = sprinkled(counts(), others, MANY, UNSEEN)
    target, _ = compressed(tmp_path, movie_bytes(values, mode), "auto")
    pages = as_tiff_readers_see_it(target)
    assert pages.dtype == dtype
    assert np.array_equal(pages, values)
    assert exceptions(target) == 0


@pytest.mark.parametrize(("mode", "late"), [(0, -1), (1, 300), (1, -1), (6, 256)])
def test_a_rare_value_that_comes_later_widens_nothing(tmp_path: Path, mode: int, late: int) -> None:
    values = counts()
    values[2, 150, 7] = late
    target, _ = compressed(tmp_path, movie_bytes(values, mode), "auto")
    assert as_tiff_readers_see_it(target).dtype == np.uint8
    assert exceptions(target) == 1


@pytest.mark.parametrize(("mode", "late", "dtype"), [(1, -1, "int16"), (6, 65535, "uint16")])
def test_exact_pixels_hold_values_of_later_frames(tmp_path: Path, mode: int, late: int, dtype: str) -> None:
    values = counts()
    values[2, 150, 7] = late
    target, _ = compressed(tmp_path, movie_bytes(values, mode), "never")
    pages = as_tiff_readers_see_it(target)
    assert pages.dtype == dtype
    assert np.array_equal(pages, values)


@pytest.mark.parametrize("narrow", ["auto", "exact", "never"])
@pytest.mark.parametrize("nx", [32, 33])
def test_four_bits_become_eight(tmp_path: Path, nx: int, narrow: NarrowChoice) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (3, 20, (nx + 1) // 2), np.uint8)
    if nx % 2:
        rows[..., -1] &= 0x0F
    target, _ = compressed(tmp_path, header((3, 20, nx), 101) + rows.tobytes(), narrow)
    pages = as_tiff_readers_see_it(target)
    values = np.stack([rows & 15, rows >> 4], -1).reshape(3, 20, -1)[..., :nx]
    assert pages.dtype == np.uint8
    assert np.array_equal(pages, values)
    assert (pages.min(), pages.max()) == (0, 15)
    assert exceptions(target) == 0


def test_padding_of_four_bit_rows_is_kept_beside_the_pixels(tmp_path: Path) -> None:
    rows = np.frombuffer(os.urandom(3 * 20 * 17), np.uint8).reshape(3, 20, 17)
    target, _ = compressed(tmp_path, header((3, 20, 33), 101) + rows.tobytes(), "auto")
    pages = as_tiff_readers_see_it(target)
    assert pages.shape == (3, 20, 33)
    assert np.array_equal(pages[..., 32], rows[..., 16] & 15)
    assert exceptions(target) == np.count_nonzero(rows[..., 16] >> 4)


def test_defects_do_not_widen_pixels_for_a_rare_value(tmp_path: Path) -> None:
    """Few electrons make small strips; exceptions that stay in any pixel type do not count against narrow ones."""
    gain = DETECTOR.gain
    counts = np.random.default_rng(0).poisson(0.03, (FRAMES, *gain.shape))
    counts[:, 150, 100] = 400
    values = counts.astype("<f4") * gain
    defects = np.random.default_rng(1).random(gain.shape) < 0.002
    values[:, defects] = np.random.default_rng(2).normal(1, 0.3, (FRAMES, np.count_nonzero(defects)))
    reference, movie = tmp_path / "gain.mrc", tmp_path / "movie.mrc"
    reference.write_bytes(header((1, *gain.shape), 2) + gain.tobytes())
    movie.write_bytes(header((FRAMES, *gain.shape), 2) + values.tobytes())
    archive(movie, tmp_path / "archive", CompressOptions(gain=reference, jobs=2))
    facts = describe(tmp_path / "archive" / "movie.mrc.tif")
    assert facts["stored_dtype"] == "uint8"
    assert facts["exceptions"] >= FRAMES * (1 + np.count_nonzero(defects)) * 0.9
