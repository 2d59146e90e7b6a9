"""TIFF movies of other programs times their gain reference."""

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from numpy.typing import NDArray

import cryofs
from cryofs.errors import GainError
from cryofs.formats.mrc import read_header
from cryofs.kernels.from_counts import Arithmetic, GainReference
from cryofs.movies.gain_library import reference_file
from cryofs.storage.byte_source import LocalFile
from tests.foreign import PIXEL_SIZE, WRITERS, counts, relion, serialem, write_tiff
from tests.outcomes import adopted
from tests.support import archive, simulated

SHAPE = (5, 48, 35)
GAIN = np.random.default_rng(3).uniform(0.8, 1.2, SHAPE[1:]).astype(np.float32)


def write_gain(path: Path, gain: NDArray[Any] = GAIN) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(gain)
    return path


def values_of(path: Path) -> NDArray[np.float32]:
    with cryofs.open(path, normalised=True) as movie:
        assert movie.dtype == np.float32
        return np.stack(list(movie.frames()))


def assert_product(path: Path, frames: NDArray[Any], gain: NDArray[np.float32] = GAIN) -> None:
    """Assert that a movie is shown as the product in float32, bit for bit."""
    product = frames.astype(np.float32) * gain
    assert np.array_equal(values_of(path).view(np.uint32), product.view(np.uint32))


@pytest.mark.parametrize("is_adopted", [False, True])
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_counts_are_multiplied(tmp_path: Path, writer: str, dtype: str, is_adopted: bool) -> None:
    frames = counts(SHAPE, dtype)
    path = WRITERS[writer](tmp_path / "Movies" / "x.tif", frames)
    write_gain(tmp_path / "gain-reference.mrc")
    if is_adopted:
        assert not adopted(tmp_path)[1]
    assert_product(path, frames)
    with cryofs.open(path) as plain:
        assert np.array_equal(np.stack(list(plain.frames())), frames)


def test_any_pixels_of_big_endian_files(tmp_path: Path) -> None:
    frames = counts(SHAPE, "uint16", mean=300)
    write_gain(tmp_path / "gain-reference.mrc")
    assert_product(write_tiff(tmp_path / "x.tif", frames, byteorder=">"), frames)


def test_packed_counts_are_multiplied(tmp_path: Path) -> None:
    packed = np.random.default_rng(0).integers(0, 256, (2, 8184, 5760), np.uint8)
    gain = np.random.default_rng(1).uniform(0.8, 1.2, (8184, 2 * 5760)).astype(np.float32)
    path = write_tiff(tmp_path / "x.tif", packed, compression=None, rowsperstrip=8184)
    write_gain(tmp_path / "gain-reference.mrc", gain)
    with cryofs.open(path, normalised=True) as movie:
        for index in range(2):
            found = movie.frame(index)
            assert np.array_equal(found[:, 0::2], (packed[index] & 15).astype(np.float32) * gain[:, 0::2])
            assert np.array_equal(found[:, 1::2], (packed[index] >> 4).astype(np.float32) * gain[:, 1::2])


def test_values_of_unreliable_pixels_come_out(tmp_path: Path) -> None:
    """RELION stores them as they were, and gain 1."""
    frames, gain = counts().astype(np.float32), GAIN.copy()
    gain[7, 3], frames[:, 7, 3] = 1, [np.pi, -0.0, np.inf, 1e-40, -3.25]
    write_gain(tmp_path / "gain-reference.mrc", gain)
    assert_product(relion(tmp_path / "x.tif", frames), frames, gain)
    assert np.array_equal(values_of(tmp_path / "x.tif")[:, 7, 3], frames[:, 7, 3])


def test_runs_and_row_blocks_are_parts_of_frames(tmp_path: Path) -> None:
    frames, gain = counts((4, 1000, 400)), np.random.default_rng(5).uniform(0.8, 1.2, (1000, 400))
    write_gain(tmp_path / "gain-reference.mrc", gain.astype(np.float32))
    path = write_tiff(tmp_path / "x.tif", frames, rowsperstrip=20)
    with cryofs.open(path, normalised=True) as movie:
        whole = [movie.mrc_frame(index).tobytes() for index in range(4)]
        assert whole[3] == (frames[3].astype(np.float32) * gain.astype(np.float32)).tobytes()
        assert movie.mrc_run(range(1, 4)).tobytes() == b"".join(whole[1:4])
        rows = movie.row_block(500)
        assert rows is not None
        assert 500 in rows
        assert len(rows) < 1000
        part = movie.read_frame(2, rows).decode(np.empty(movie.decoded_bytes(rows), np.uint8))
        assert part.tobytes() == whole[2][rows.start * movie.row_bytes : rows.stop * movie.row_bytes]


def test_the_arithmetic_of_a_reference_of_cryofs_is_used(tmp_path: Path) -> None:
    detail = np.random.default_rng(1).uniform(-1e-8, 1e-8, GAIN.shape).astype(np.float32)
    reference = GainReference(GAIN, Arithmetic.DOUBLE, detail)
    data = bytearray(reference_file(reference, None))
    # as a user passes it on: without the label, it is not one that cryofs keeps for its own movies
    data[224:304] = b"given".ljust(80)
    (tmp_path / "gain-reference.mrc").write_bytes(data)
    frames = counts(SHAPE, "uint16", mean=3000)
    path = serialem(tmp_path / "x.tif", frames)
    double = (frames * (GAIN.astype(np.float64) + detail)).astype(np.float32)
    assert np.array_equal(values_of(path), double)
    assert not np.array_equal(double, frames.astype(np.float32) * GAIN)


def test_the_header(tmp_path: Path) -> None:
    write_gain(tmp_path / "gain-reference.mrc")
    path = serialem(tmp_path / "x.tif", counts())
    shown = tmp_path / "shown.mrc"
    with cryofs.open(path, normalised=True) as movie:
        assert movie.shape == SHAPE
        shown.write_bytes(movie.header + movie.mrc_run(range(5)).tobytes())
        assert shown.stat().st_size == movie.layout.total_bytes
    with LocalFile.open(shown) as source:
        header = read_header(source)
    assert (header.mode, header.shape) == (2, SHAPE)
    assert header.pixel_size == pytest.approx(PIXEL_SIZE)
    with mrcfile.open(shown) as found:
        assert np.array_equal(found.data, counts().astype(np.float32) * GAIN)


def test_the_nearest_reference_is_used(tmp_path: Path) -> None:
    write_gain(tmp_path / "gain-reference.mrc", 2 * GAIN)
    write_gain(tmp_path / "Movies" / "gain-reference.mrc")
    assert_product(serialem(tmp_path / "Movies" / "deep" / "x.tif", counts()), counts())
    assert_product(serialem(tmp_path / "x.tif", counts()), counts(), 2 * GAIN)


def test_the_recorded_reference_is_used_wherever_it_lies(tmp_path: Path) -> None:
    write_gain(tmp_path / "gain-reference.mrc")
    path = serialem(tmp_path / "Movies" / "x.tif", counts())
    assert not adopted(tmp_path)[1]
    write_gain(tmp_path / "Movies" / "gain-reference.mrc", 2 * GAIN)
    assert_product(path, counts())
    write_gain(tmp_path / "gain-reference.mrc", 3 * GAIN)
    with pytest.raises(GainError, match=r"x\.tif: its gain reference .* is missing or changed; restore"):
        values_of(path)


def test_a_movie_without_a_reference_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    path = serialem(tmp_path / "x.tif", counts())
    with pytest.raises(GainError, match=r"x\.tif: no gain reference .*; put its gain-reference\.mrc into this folder"):
        cryofs.open(path, normalised=True)


@pytest.mark.parametrize("is_adopted", [False, True])
def test_a_reference_that_cryofs_estimated_is_not_used_unless_it_was_recorded(tmp_path: Path, is_adopted: bool) -> None:
    path = serialem(tmp_path / "x.tif", counts())
    (tmp_path / "gain-reference.mrc").write_bytes(reference_file(GainReference(GAIN), None))
    if is_adopted:
        assert not adopted(tmp_path)[1]
        assert_product(path, counts())
    else:
        with pytest.raises(GainError, match="no gain reference"):
            cryofs.open(path, normalised=True)


def test_a_reference_of_another_size_is_an_error(tmp_path: Path) -> None:
    path = serialem(tmp_path / "x.tif", counts())
    write_gain(tmp_path / "gain-reference.mrc", GAIN.T)
    with pytest.raises(GainError, match=r"wrong size of the gain reference \(expected 48 x 35, got 35 x 48\)"):
        cryofs.open(path, normalised=True)


@pytest.mark.parametrize("size", [0, 100, 1024 + GAIN.nbytes - 1])
def test_a_damaged_reference_is_an_error(tmp_path: Path, size: int) -> None:
    path = serialem(tmp_path / "x.tif", counts())
    reference = write_gain(tmp_path / "gain-reference.mrc")
    reference.write_bytes(reference.read_bytes()[:size])
    with pytest.raises(GainError, match=r"x\.tif: invalid gain-reference\.mrc \(.*\); replace the reference"):
        cryofs.open(path, normalised=True)


def test_other_movies_are_their_originals(tmp_path: Path) -> None:
    original = simulated(tmp_path / "session" / "x.mrc")
    archive(tmp_path / "session", tmp_path / "archive")
    renamed = tmp_path / "archive" / "renamed.tif"
    renamed.write_bytes((tmp_path / "archive" / "x.mrc.tif").read_bytes())
    for path in (original, tmp_path / "archive" / "x.mrc.tif", renamed):
        with cryofs.open(path, normalised=True) as movie:
            data = movie.header + b"".join(movie.mrc_frame(index).tobytes() for index in range(movie.shape[0]))
        assert data == original.read_bytes()


def test_an_adopted_movie_that_is_named_like_an_archived_one(tmp_path: Path) -> None:
    write_gain(tmp_path / "gain-reference.mrc")
    path = relion(tmp_path / "x.mrc.tif", counts())
    assert not adopted(tmp_path)[1]
    assert_product(path, counts())
