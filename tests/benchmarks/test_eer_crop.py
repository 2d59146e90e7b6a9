"""Frequencies near that of Nyquist, in movies rendered at 4K and in those rendered finer and cropped."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.eer_crop import Wave, spectrum
from cryofs.movies.eer_rendering import Rendering


def integrated(frequency: float, upsampling: int) -> float:
    """Return the share of an amplitude that is left by pixels of 1 / upsampling, sampled on the 16K grid."""
    return float(np.sinc(frequency / 2 / upsampling) / np.sinc(frequency / 8))


def spectra(wave: Wave, tmp_path: Path, upsampling: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    wave.write(tmp_path / "wave.eer")
    plain = Rendering(grouping=wave.frames)
    cropped = Rendering(grouping=wave.frames, upsampling=upsampling, crop=1)
    return spectrum(tmp_path / "wave.eer", plain), spectrum(tmp_path / "wave.eer", cropped)


def at(amplitudes: NDArray[np.float64], frequency: float) -> float:
    return float(amplitudes[round(frequency * (len(amplitudes) - 1))])


def noise(amplitudes: NDArray[np.float64]) -> float:
    """Return the typical amplitude; the wave itself is one of hundreds."""
    return float(np.sqrt(np.median(amplitudes[1:] ** 2)))


@pytest.mark.parametrize("upsampling", [2, 4])
def test_frequencies_beyond_nyquist_do_not_fold_back(tmp_path: Path, upsampling: int) -> None:
    plain, cropped = spectra(Wave(1.4), tmp_path, upsampling)
    assert at(plain, 0.6) == pytest.approx(0.5 * integrated(1.4, 1), rel=0.1)
    assert at(cropped, 0.6) < 4 * noise(cropped) < at(plain, 0.6) / 10
    assert noise(cropped) == pytest.approx(noise(plain), rel=0.1)


@pytest.mark.parametrize(("upsampling", "times"), [(2, 1.31), (4, 1.41)])
def test_frequencies_within_nyquist_keep_more_of_their_amplitude(tmp_path: Path, upsampling: int, times: float) -> None:
    plain, cropped = spectra(Wave(0.9), tmp_path, upsampling)
    assert integrated(0.9, upsampling) / integrated(0.9, 1) == pytest.approx(times, abs=0.01)
    assert at(plain, 0.9) == pytest.approx(0.5 * integrated(0.9, 1), rel=0.05)
    assert at(cropped, 0.9) / at(plain, 0.9) == pytest.approx(times, rel=0.02)
    # over the same noise
    assert noise(cropped) == pytest.approx(noise(plain), rel=0.1)
