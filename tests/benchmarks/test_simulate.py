"""Simulated movies have the documented statistics."""

import zlib
from pathlib import Path

import imagecodecs
import mrcfile
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from benchmarks.cases import Case, cases
from benchmarks.simulate import K2_COUNTS_MEAN, K2_MEAN, Detector, write_counts, write_movie
from benchmarks.simulate_eer import FALCON_MEAN, FALCON_SHAPE, write_falcon
from benchmarks.simulate_falcon3 import BLOB_SUM, FALCON3_MEAN, blobs, falcon3_frames, write_falcon3

SHAPE = (512, 480)


def entropy(values: NDArray[np.int16]) -> float:
    """Return the entropy in bits per value."""
    shares = np.unique(values, return_counts=True)[1] / values.size
    return float(-(shares * np.log2(shares)).sum())


def share(compressed: bytes | bytearray, values: NDArray[np.int16]) -> float:
    return 100 * len(compressed) / values.nbytes


def huffman_only(data: bytes) -> bytes:
    coder = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_HUFFMAN_ONLY)
    return coder.compress(data) + coder.flush()


class TestFalcon3:
    """Blobs in int16."""

    def test_blobs_sum_to_100_and_differ_by_position(self) -> None:
        table = blobs()
        assert np.all(table.sum(axis=1) == BLOB_SUM)
        assert table.min() >= 0
        assert len(np.unique(table, axis=0)) > 100

    def test_lone_electrons_are_whole_blobs_inside_and_cut_at_the_edges(self) -> None:
        frame = next(falcon3_frames(1, SHAPE, mean=1e-4, seed=3))
        assert frame.shape == SHAPE
        assert frame.dtype == np.int16
        assert frame.sum() == pytest.approx(BLOB_SUM * 1e-4 * frame.size, rel=0.6)
        assert frame.max() <= blobs().max() * 2

    def test_statistics_match_the_docstring(self) -> None:
        frame = np.ascontiguousarray(next(falcon3_frames(1, (1024, 1024), seed=1)))
        data = frame.tobytes()
        assert frame.mean() == pytest.approx(BLOB_SUM * FALCON3_MEAN, rel=0.01)
        assert 100 * entropy(frame) / 16 == pytest.approx(41.0, abs=0.3)
        assert share(zlib.compress(data, 6), frame) == pytest.approx(52.4, abs=0.5)
        assert share(imagecodecs.lzw_encode(data), frame) == pytest.approx(61.4, abs=0.5)
        assert share(huffman_only(data), frame) == pytest.approx(52.2, abs=0.5)

    @pytest.mark.parametrize("seed", range(20))
    def test_any_position_fits(self, seed: int) -> None:
        frame = next(falcon3_frames(1, (3, 2), mean=5, seed=seed))
        assert frame.shape == (3, 2)

    def test_file(self, tmp_path: Path) -> None:
        write_falcon3(tmp_path / "movie.mrc", 2, SHAPE, seed=1)
        with mrcfile.open(tmp_path / "movie.mrc") as movie:
            assert movie.header.mode == 1
            assert movie.data.shape == (2, *SHAPE)
            assert movie.data.mean() == pytest.approx(BLOB_SUM * FALCON3_MEAN, rel=0.02)


def test_counts(tmp_path: Path) -> None:
    write_counts(tmp_path / "movie.mrc", 3, SHAPE, seed=1)
    with mrcfile.open(tmp_path / "movie.mrc") as movie:
        assert movie.header.mode == 0
        assert movie.data.shape == (3, *SHAPE)
        assert movie.data.min() == 0
        assert movie.data.mean() == pytest.approx(K2_COUNTS_MEAN, rel=0.01)
        # variance of a Poisson distribution
        assert movie.data.astype(float).var() == pytest.approx(K2_COUNTS_MEAN, rel=0.02)


def test_gain_normalised(tmp_path: Path) -> None:
    detector = Detector.make(SHAPE, defects=20)
    write_movie(tmp_path / "movie.mrc", detector, 2, seed=1)
    with mrcfile.open(tmp_path / "movie.mrc") as movie:
        assert movie.header.mode == 2
        counts = movie.data / detector.gain
        assert counts.mean() == pytest.approx(K2_MEAN, rel=0.01)
        odd = np.abs(counts - np.rint(counts)) > 1e-4
        assert set(np.flatnonzero(odd.any(axis=0))) <= set(detector.defects)


def test_eer(tmp_path: Path) -> None:
    write_falcon(tmp_path / "movie.eer", 2, seed=1)
    frame = tifffile.imread(tmp_path / "movie.eer", key=1)
    assert frame.shape == FALCON_SHAPE
    assert frame.mean() == pytest.approx(FALCON_MEAN, rel=0.02)


class TestCases:
    """Movies of a case."""

    def test_the_five_tables(self) -> None:
        for small in (False, True):
            assert list(cases(small)) == ["k2", "scaled", "counts", "falcon3", "eer"]

    def test_movies_differ_and_are_generated_once(self, tmp_path: Path) -> None:
        case = Case("odd", ".mrc", 6, write_seed)
        names = case.make(tmp_path, 3)
        assert [(tmp_path / name).read_text() for name in names] == ["0", "1", "2"]
        (tmp_path / names[0]).write_text("kept")
        assert case.make(tmp_path)[:3] == names
        assert [path.read_text() for path in sorted((tmp_path / "movies").iterdir())] == ["kept", *"123", "kept", "1"]


def write_seed(path: Path, seed: int) -> None:
    path.write_text(str(seed))
