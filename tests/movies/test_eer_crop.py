"""EER movies that are rendered on a fine grid and cropped in Fourier space."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from numpy.typing import NDArray

import cryofs
from benchmarks.simulate_eer import Events, encode, metadata, write_eer
from cryofs.errors import UsageError
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import Rendering, fingerprint
from tests.kernels.test_fourier_crop import reference
from tests.movies.eer_samples import FALCON, FRAMES, SHAPE, gain_values, opened, plain_sum, write_gain
from tests.support import run_in_process

GRIDS = [(2, 1), (4, 2), (4, 1)]
# frames 5 to 9 are the second fraction of 5 frames
SECOND = range(5, 10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_eer(tmp_path / "x.eer", FRAMES, SHAPE, FALCON, xml=metadata(11, 0.55, 0.8))
    return tmp_path / "x.eer"


def size(crop: int) -> tuple[int, int]:
    return SHAPE[0] * crop, SHAPE[1] * crop


def expected(upsampling: int, crop: int, gain: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    image = plain_sum(SECOND, upsampling).astype(np.float64)
    return reference((image if gain is None else image * gain).astype(np.float32), size(crop))


@pytest.mark.parametrize(("upsampling", "crop"), GRIDS)
def test_fractions_equal_the_reference(path: Path, upsampling: int, crop: int) -> None:
    with opened(path, grouping=5, upsampling=upsampling, crop=crop) as movie:
        assert (movie.shape, movie.dtype.name) == ((2, *size(crop)), "float32")
        assert movie.mrc_header.pixel_size == pytest.approx(0.8 / crop)
        image = expected(upsampling, crop)
        assert np.abs(movie.frame(1) - image).max() <= 1e-5 * np.ptp(image)
        # the mean is that of the rendering on this grid
        assert movie.frame(1).mean(dtype=np.float64) == pytest.approx(plain_sum(SECOND, crop).mean(), rel=1e-6)


@pytest.mark.parametrize("dtype", [None, "int16"])
def test_bytes_at_any_place_and_in_any_way(path: Path, dtype: str | None) -> None:
    rng = np.random.default_rng(0)
    with opened(path, grouping=5, upsampling=2, crop=1, dtype=dtype) as movie:
        encoded = movie.read_frame(1)
        decoded = encoded.decode()
        assert decoded.nbytes == movie.decoded_bytes() == movie.layout.frame_bytes
        raw = movie.mrc_frame(1).tobytes()
        assert encoded.decode(np.full(decoded.nbytes, 255, np.uint8)).tobytes() == raw
        for _ in range(100):
            start = int(rng.integers(0, len(raw)))
            count = int(rng.integers(1, len(raw) - start + 1))
            assert movie.mrc_bytes(decoded, start, count).tobytes() == raw[start : start + count]
        first = 7 * movie.mrc_header.row_bytes
        assert movie.raw_rows(1, 7, 20).tobytes() == raw[first : first + 13 * movie.mrc_header.row_bytes]


def test_whole_numbers_are_scaled_by_a_stated_factor(path: Path) -> None:
    with opened(path, grouping=5, upsampling=2, crop=1, dtype="int16") as movie:
        # 2 x 5 x 2048 fits into 32767, 2 x 5 x 4096 does not
        assert movie.rendered.scale == 2048
        assert b"5 frames a fraction, upsampled 2, cropped to 1, electrons x 2048" in movie.header
        assert movie.dtype == np.int16
        np.testing.assert_allclose(movie.frame(1), 2048 * expected(2, 1), atol=0.51)
        assert movie.findings.saturated_values == 0


@pytest.mark.parametrize(("frames", "scale"), [(1, 8192), (8, 2048 / 2), (11, 1024)])
def test_the_factor_leaves_room_for_twice_the_electrons(path: Path, frames: int, scale: float) -> None:
    with opened(path, grouping=frames, upsampling=4, crop=1, dtype="int16") as movie:
        assert movie.rendered.scale == scale
        assert 2 * frames * scale <= 32767 < 4 * frames * scale


def test_values_beyond_whole_numbers_are_clipped_and_counted(path: Path, tmp_path: Path) -> None:
    gain = np.ones(SHAPE, np.float32)
    gain[:, ::2] = 100
    choices = {"grouping": 5, "upsampling": 2, "crop": 1, "gain": write_gain(tmp_path, "gain", gain)}
    with opened(path, **choices) as exact, opened(path, dtype="int16", **choices) as movie:
        wanted = np.rint(exact.frame(1) * 2048)
        beyond = (wanted > 32767) | (wanted < -32768)
        assert beyond.any()
        np.testing.assert_array_equal(movie.frame(1), np.clip(wanted, -32768, 32767))
        assert movie.findings.saturated_values == np.count_nonzero(beyond)


@pytest.mark.parametrize("kind", ["gain", "mrc"])
def test_the_gain_is_applied_before_cropping(path: Path, tmp_path: Path, kind: str) -> None:
    gain = gain_values(SHAPE)
    gain[10, 20:22] = 1
    given = write_gain(tmp_path, kind, gain)
    factors = gain.astype(np.float64) if kind == "gain" else gain.mean(dtype=np.float64) / gain.astype(np.float64)
    with opened(path, grouping=5, upsampling=2, crop=1, gain=given) as movie:
        image = expected(2, 1, factors.repeat(2, 0).repeat(2, 1))
        assert np.abs(movie.frame(1) - image).max() <= 1e-5 * np.ptp(image)
        # nothing is left to multiply with
        assert movie.gain_reference(EerGains()) is None


@pytest.mark.parametrize(("upsampling", "crop"), GRIDS)
@pytest.mark.parametrize("place", [np.s_[20], np.s_[:, 31], np.s_[10:14, 20:26]])
def test_defects_do_not_ring(tmp_path: Path, place: tuple[slice, ...], upsampling: int, crop: int) -> None:
    """A movie with one electron in each place within each pixel is even, with or without defects."""
    every = np.arange(SHAPE[0] * SHAPE[1])
    frames = [Events(every, np.full_like(every, one & 3), np.full_like(every, one >> 2)) for one in range(16)]
    write_eer(tmp_path / "x.eer", [encode(frame, len(every), FALCON) for frame in frames], SHAPE, FALCON)
    gain = np.full(SHAPE, 2, np.float32)
    gain[place] = 0
    given = write_gain(tmp_path, "gain", gain)
    value = 2 * 16 / crop**2
    with opened(tmp_path / "x.eer", grouping=16, upsampling=upsampling, crop=crop, gain=given) as movie:
        np.testing.assert_allclose(movie.frame(0), value, rtol=1e-5)
    # zeros in their place do ring
    unfilled = reference(gain.repeat(upsampling, 0).repeat(upsampling, 1) * np.float32(16 / upsampling**2), size(crop))
    near = np.zeros(SHAPE, bool)
    near[place] = True
    assert np.abs(unfilled - value)[~near.repeat(crop, 0).repeat(crop, 1)].max() > 0.1 * value


def test_options_of_the_library(path: Path) -> None:
    options: dict[str, Any] = {"eer_grouping": 5, "eer_upsampling": 4, "eer_crop": 2, "eer_dtype": "int16"}
    with cryofs.open(path, **options) as shown:
        values = shown.frame(1)
    with opened(path, grouping=5, upsampling=4, crop=2, dtype="int16") as movie:
        np.testing.assert_array_equal(values, movie.frame(1))
    with pytest.raises(UsageError, match="eer_crop must be less than eer_upsampling"):
        cryofs.open(path, eer_crop=1)


def test_facts_of_a_cropped_rendering(path: Path) -> None:
    options = ["--eer-grouping", 5, "--eer-upsampling", 2, "--eer-crop", 1, "--eer-dtype", "int16"]
    facts = json.loads(run_in_process("info", path, *options, "--json").stdout)
    assert (facts["upsampling"], facts["crop"], facts["scale"]) == (2, 1, 2048)
    assert run_in_process("info", path, "--eer-crop", 2, check=False).returncode == 2


def test_the_picture_of_a_cropped_rendering(path: Path, tmp_path: Path) -> None:
    options = ["--eer-grouping", 5, "--eer-upsampling", 2, "--eer-crop", 1, "--eer-dtype", "int16"]
    done = run_in_process("preview", path, "-o", tmp_path / "x.png", *options)
    assert f"2 fractions of 5 frames of {SHAPE[1]} \u00d7 {SHAPE[0]}, int16" in done.stdout
    # in electrons, whatever the scale
    mean = np.mean([plain_sum(range(first, first + 5)).mean() for first in (0, 5)])
    assert f"mean dose: {mean:.4g} per pixel and fraction" in done.stdout


@pytest.mark.parametrize(
    "choices",
    [
        {"upsampling": 1, "crop": 1},
        {"upsampling": 2, "crop": 2},
        {"upsampling": 2, "crop": 1, "dtype": "int8"},
        {"upsampling": 2, "crop": 1, "dtype": "uint16"},
    ],
)
def test_what_cannot_be_cropped(choices: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"eer_crop (must be less than eer_upsampling|yields float32 or int16)"):
        Rendering(**choices)  # type: ignore[arg-type]


def test_fingerprints() -> None:
    assert fingerprint(Rendering()) == fingerprint(Rendering(dtype="int16")) == ""
    assert fingerprint(Rendering(dtype="uint16", upsampling=2)) == "upsampling=2 dtype='uint16'"
    assert fingerprint(Rendering(apply_gain=True)) == "apply_gain=True"
    plain = Rendering(upsampling=4, crop=1)
    assert fingerprint(plain) == fingerprint(Rendering(upsampling=4, crop=1, dtype="float32"))
    others = [Rendering(upsampling=4, crop=2), Rendering(upsampling=4, crop=1, dtype="int16"), Rendering(upsampling=4)]
    # the gain is applied before cropping
    others.append(Rendering(upsampling=4, crop=1, gain=Path("falcon.gain")))
    assert len({fingerprint(one) for one in (plain, *others)}) == 5
    assert fingerprint(Rendering(gain=Path("falcon.gain"))) == ""


def test_fingerprints_ignore_options_that_affect_no_byte() -> None:
    gain = Path("falcon.gain")
    # without --eer-dose-per-fraction, a dose does not affect fractions; the header holds the pixel size
    assert fingerprint(Rendering(dose=40)) == ""
    assert fingerprint(Rendering(pixel_size=0.7)) == "pixel_size=0.7"
    by_dose = [Rendering(dose_per_fraction=1.0, dose=dose) for dose in (None, 30, 40)]
    assert len({fingerprint(one) for one in by_dose}) == 3
    assert fingerprint(by_dose[0]) == fingerprint(Rendering(dose_per_fraction=1.0, grouping=7))
    # the convention affects fractions only if they are multiplied, and only if it differs from that of the name
    assert fingerprint(Rendering(gain=gain, gain_convention="divide")) == ""
    multiplied = Rendering(gain=gain, apply_gain=True)
    assert fingerprint(multiplied) == fingerprint(replace(multiplied, gain_convention="multiply"))
    assert fingerprint(multiplied) == fingerprint(replace(multiplied, dtype="uint16"))
    assert fingerprint(multiplied) != fingerprint(replace(multiplied, gain_convention="divide"))


@pytest.mark.parametrize(("spectra", "at_once"), [(0.5, 1), (3.5, 3), (1000, 7)])
def test_spectra_take_an_eighth_of_the_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch, spectra: float, at_once: int
) -> None:
    monkeypatch.setattr("cryofs.movies.eer_pixels.usable_cores", lambda: 7)
    size = 4 * SHAPE[0] * (SHAPE[1] // 2 + 1) * 8
    monkeypatch.setattr("cryofs.movies.eer_pixels.usable_memory", lambda: 8 * size * spectra)
    with opened(path, upsampling=4, crop=1) as movie:
        assert movie.decodes_at_once == at_once


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_mrcfile_validates_cropped_fractions(path: Path, tmp_path: Path, dtype: str) -> None:
    with opened(path, grouping=5, upsampling=4, crop=2, dtype=dtype) as movie:
        written = tmp_path / "x.mrc"
        written.write_bytes(movie.header + b"".join(movie.mrc_frame(index).tobytes() for index in range(2)))
    assert mrcfile.validate(written)
    with mrcfile.open(written) as read:
        assert read.data.shape == (2, *size(2))
        assert float(read.voxel_size.x) == pytest.approx(0.4)
