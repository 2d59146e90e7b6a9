"""Summaries of movies: sums, spectra and counts, for each kind of file."""

import struct
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import cryofs
from benchmarks.simulate import header
from benchmarks.simulate_eer import Widths, random_frames, write_eer
from cryofs.compress.movie_task import CompressOptions
from cryofs.errors import DamagedError, SettingsError
from cryofs.movies.eer_rendering import Rendering
from cryofs.report.movie_summary import MovieSummary, binned, limits, power_spectrum, summarize
from cryofs.report.preview import save_preview
from tests.foreign import counts, serialem
from tests.support import archive, movie_values, restored, run_in_process, simulated

IMOD = 1146047817


def test_sum_dose_and_counts_of_a_movie(tmp_path: Path) -> None:
    frames = counts(shape=(6, 64, 40))
    plain = tmp_path / "x.mrc"
    plain.write_bytes(header(frames.shape, 0) + frames.astype(np.int8).tobytes())
    for path in (plain, serialem(tmp_path / "y.tif", frames)):
        summary = summarize(path, 2)
        assert np.array_equal(summary.total, frames.sum(0))
        assert summary.mean == pytest.approx(frames.mean())
        assert (summary.shape, summary.binning, summary.histogram.whole) == (frames.shape, 1, True)
        assert summary.histogram.shares.sum() > 0.99
        for share, edge in zip(summary.histogram.shares, summary.histogram.edges[:-1], strict=True):
            assert share == pytest.approx((frames == edge + 0.5).mean())


@pytest.mark.parametrize(
    ("stamp", "flags", "unsigned"), [(IMOD, 0, True), (IMOD, 16, True), (IMOD, 1, False), (0, 0, False)]
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_bytes_are_unsigned_if_the_flag_of_imod_says_so(
    tmp_path: Path, order: Literal["<", ">"], stamp: int, flags: int, unsigned: bool
) -> None:
    frames = counts(shape=(4, 64, 40), mean=120)
    start = bytearray(header(frames.shape, 0, byte_order=order))
    struct.pack_into(f"{order}2i", start, 152, stamp, flags)
    path = tmp_path / "session" / "x.mrc"
    path.parent.mkdir()
    path.write_bytes(bytes(start) + frames.tobytes())
    archive(path.parent, tmp_path / "archive")
    stored = tmp_path / "archive" / "x.mrc.tif"
    values = frames if unsigned else frames.view(np.int8)
    for place in (path, stored):
        with cryofs.open(place) as movie:
            assert movie.dtype == values.dtype
            assert np.array_equal(np.stack(list(movie.frames())), values)
        summary = summarize(place, 2)
        assert summary.mean == pytest.approx(values.mean())
        assert np.array_equal(summary.total, values.sum(0))
    assert (restored(tmp_path / "archive", tmp_path / "back") / "x.mrc").read_bytes() == path.read_bytes()


def test_counts_of_a_gain_normalised_movie_are_whole(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "x.mrc")
    archive(tmp_path / "session", tmp_path / "archive")
    archived, plain = summarize(tmp_path / "archive" / "x.mrc.tif", 2), summarize(tmp_path / "session" / "x.mrc", 2)
    assert archived.histogram.whole
    assert not plain.histogram.whole
    assert np.array_equal(archived.total, plain.total)
    assert archived.mean == pytest.approx(movie_values().mean(), rel=1e-5)


def test_fractions_of_an_eer_movie(tmp_path: Path) -> None:
    widths, shape = Widths(), (64, 80)
    write_eer(tmp_path / "x.eer", random_frames(80, shape, 0.02, widths), shape, widths)
    summary = summarize(tmp_path / "x.eer", 2)
    assert summary.facts.startswith("2 fractions of 40 frames of 80 \u00d7 64, int16")
    assert "per pixel and fraction" in summary.dose


def test_the_dose_of_scaled_fractions_is_in_electrons(tmp_path: Path) -> None:
    shape, widths = (64, 80), Widths()
    (tmp_path / "session").mkdir()
    write_eer(tmp_path / "session" / "x.eer", random_frames(40, shape, 0.02, widths), shape, widths)
    rendering = Rendering(grouping=20, upsampling=2, crop=1, dtype="int16")
    archive(tmp_path / "session", tmp_path / "archive", CompressOptions(rendering=rendering, jobs=1))
    scaled = summarize(tmp_path / "archive" / "x.mrc.tif", 2)
    assert scaled.dtype == "int16"
    assert scaled.mean == pytest.approx(20 * 0.0198, rel=0.1)


def test_peak_of_a_wave_in_the_spectrum() -> None:
    x = np.arange(1024)
    image = np.broadcast_to(np.cos(2 * np.pi * x / 8), (512, 1024)).astype(np.float32)
    spectrum = power_spectrum(image)
    assert spectrum.shape == (512, 512)
    peak = np.unravel_index(np.nanargmax(spectrum), spectrum.shape)
    assert peak[0] == 256
    assert abs(peak[1] - 256) == 512 // 8


def test_means_of_squares() -> None:
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert binned(image, 1).tolist() == image.tolist()
    assert binned(image, 2).tolist() == [[2.5, 4.5]]
    assert binned(image, 9).tolist() == [[5.5]]


def test_limits_ignore_values_that_are_not_finite() -> None:
    assert limits(np.array([np.nan, np.inf, 1.0, 3.0]), 0) == (1.0, 3.0)
    assert limits(np.full(4, np.nan)) == (0.0, 1.0)
    assert limits(np.full(4, 7.0)) == (7.0, 8.0)


def test_movie_of_nan(tmp_path: Path) -> None:
    values = np.full((2, 8, 8), np.nan, np.float32)
    (tmp_path / "x.mrc").write_bytes(header(values.shape, 2) + values.tobytes())
    save_preview(summarize(tmp_path / "x.mrc", 1), tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size


@pytest.fixture
def summary(tmp_path: Path) -> MovieSummary:
    return summarize(serialem(tmp_path / "y.tif", counts()), 1)


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_picture_formats(summary: MovieSummary, tmp_path: Path, suffix: str, magic: bytes) -> None:
    save_preview(summary, tmp_path / f"y.{suffix}")
    assert (tmp_path / f"y.{suffix}").read_bytes().startswith(magic)


def test_unsupported_format_is_an_error(summary: MovieSummary, tmp_path: Path) -> None:
    # a TIFF file of this name would look like an archived movie
    for name in ("y.doc", "y.mrc.tif"):
        with pytest.raises(SettingsError, match=rf"{name}: .*png"):
            save_preview(summary, tmp_path / name)
        assert not (tmp_path / name).exists()


def test_damaged_movie_is_an_error(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "x.mrc")
    archive(tmp_path / "session", tmp_path / "archive")
    path = tmp_path / "archive" / "x.mrc.tif"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"x\.mrc\.tif, frame"):
        summarize(path, 1)


def test_command(tmp_path: Path) -> None:
    path = serialem(tmp_path / "y.tif", counts())
    output = run_in_process("preview", path, "-o", tmp_path / "y.png").stdout
    assert "y.tif: 5 frames of 35 \u00d7 48" in output
    assert "mean dose" in output
    assert (tmp_path / "y.png").read_bytes().startswith(b"\x89PNG")
