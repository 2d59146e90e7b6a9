"""What previews show: sums, spectra and counts are those of the movie, whatever kind of file it is in."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import header
from benchmarks.simulate_eer import Widths, random_frames, write_eer
from cryofs.errors import DamagedError, SettingsError
from cryofs.report.movie_summary import Look, binned, limits, look_at, power_spectrum
from cryofs.report.preview import save_preview
from tests.foreign import counts, serialem
from tests.support import archive, movie_values, run_in_process, simulated


def test_the_sum_the_dose_and_the_counts_of_a_movie(tmp_path: Path) -> None:
    frames = counts(shape=(6, 64, 40))
    plain = tmp_path / "x.mrc"
    plain.write_bytes(header(frames.shape, 0) + frames.astype(np.int8).tobytes())
    for path in (plain, serialem(tmp_path / "y.tif", frames)):
        look = look_at(path, 2)
        assert np.array_equal(look.total, frames.sum(0))
        assert look.mean == pytest.approx(frames.mean())
        assert (look.shape, look.binning, look.histogram.whole) == (frames.shape, 1, True)
        assert look.histogram.shares.sum() > 0.99
        for share, edge in zip(look.histogram.shares, look.histogram.edges[:-1], strict=True):
            assert share == pytest.approx((frames == edge + 0.5).mean())


def test_counts_of_a_gain_normalised_movie_are_whole(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "x.mrc")
    archive(tmp_path / "session", tmp_path / "archive")
    archived, plain = look_at(tmp_path / "archive" / "x.mrc.tif", 2), look_at(tmp_path / "session" / "x.mrc", 2)
    assert archived.histogram.whole
    assert not plain.histogram.whole
    assert np.array_equal(archived.total, plain.total)
    assert archived.mean == pytest.approx(movie_values().mean(), rel=1e-5)


def test_fractions_of_an_eer_movie(tmp_path: Path) -> None:
    widths, shape = Widths(), (64, 80)
    write_eer(tmp_path / "x.eer", random_frames(80, shape, 0.02, widths), shape, widths)
    look = look_at(tmp_path / "x.eer", 2)
    assert look.facts.startswith("2 fractions of 40 frames of 80 \u00d7 64, int16")
    assert "a pixel and fraction" in look.dose


def test_a_wave_is_where_its_frequency_is() -> None:
    x = np.arange(1024)
    image = np.broadcast_to(np.cos(2 * np.pi * x / 8), (512, 1024)).astype(np.float32)
    spectrum = power_spectrum(image)
    assert spectrum.shape == (512, 512)
    where = np.unravel_index(np.nanargmax(spectrum), spectrum.shape)
    assert where[0] == 256
    assert abs(where[1] - 256) == 512 // 8


def test_means_of_squares() -> None:
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert binned(image, 1).tolist() == image.tolist()
    assert binned(image, 2).tolist() == [[2.5, 4.5]]
    assert binned(image, 9).tolist() == [[5.5]]


def test_limits_pass_over_what_is_no_number() -> None:
    assert limits(np.array([np.nan, np.inf, 1.0, 3.0]), 0) == (1.0, 3.0)
    assert limits(np.full(4, np.nan)) == (0.0, 1.0)
    assert limits(np.full(4, 7.0)) == (7.0, 8.0)


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    values = np.full((2, 8, 8), np.nan, np.float32)
    (tmp_path / "x.mrc").write_bytes(header(values.shape, 2) + values.tobytes())
    save_preview(look_at(tmp_path / "x.mrc", 1), tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size


@pytest.fixture
def look(tmp_path: Path) -> Look:
    return look_at(serialem(tmp_path / "y.tif", counts()), 1)


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_pictures_of_several_formats(look: Look, tmp_path: Path, suffix: str, magic: bytes) -> None:
    save_preview(look, tmp_path / f"y.{suffix}")
    assert (tmp_path / f"y.{suffix}").read_bytes().startswith(magic)


def test_an_unknown_format_names_those_that_there_are(look: Look, tmp_path: Path) -> None:
    # a TIFF of this name would be an archived movie
    for name in ("y.doc", "y.mrc.tif"):
        with pytest.raises(SettingsError, match=rf"{name}: .*png"):
            save_preview(look, tmp_path / name)
        assert not (tmp_path / name).exists()


def test_a_damaged_movie_has_no_preview(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "x.mrc")
    archive(tmp_path / "session", tmp_path / "archive")
    path = tmp_path / "archive" / "x.mrc.tif"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"x\.mrc\.tif, frame"):
        look_at(path, 1)


def test_the_command(tmp_path: Path) -> None:
    path = serialem(tmp_path / "y.tif", counts())
    said = run_in_process("preview", path, "-o", tmp_path / "y.png").stdout
    assert "y.tif: 5 frames of 35 \u00d7 48" in said
    assert "mean dose" in said
    assert (tmp_path / "y.png").read_bytes().startswith(b"\x89PNG")
