"""Compare cropping a rendered fraction in Fourier space with the transforms of NumPy alone."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.competitors import OURS
from benchmarks.figures import Reading
from benchmarks.readings import CROPPING, Readings, in_turn
from cryofs.movies.eer import EerMovie
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import Rendering

_GROUPING = 24
_TRANSFORMS = "numpy.fft, transforms alone"
_WHAT = "one fraction, 8K to 4K, beyond rendering"


def crop(movie: Path, runs: int) -> list[Reading]:
    """Crop the first fraction of an EER movie from the 8K to the 4K grid, on one core."""
    readings = Readings(CROPPING)
    fine = Rendering(grouping=_GROUPING, upsampling=2)
    cropped = Rendering(grouping=_GROUPING, upsampling=2, crop=1)
    with EerMovie(movie, fine, EerGains()) as rendered, EerMovie(movie, cropped, EerGains()) as shown:
        # both decode the same streams, so the difference in time is that of the cropping
        counts, encoded = rendered.read_frame(0), shown.read_frame(0)
        whole, part = (np.empty(one.decoded_bytes(), np.uint8) for one in (rendered, shown))
        image = rendered.frame(0).astype(np.float32)
        size = shown.shape[1:]

        def ours() -> None:
            beyond = _seconds(lambda: encoded.decode(part)) - _seconds(lambda: counts.decode(whole))
            readings.add(_WHAT, OURS, "s", beyond)

        def transforms() -> None:
            half = size[1] // 2 + 1
            spectrum = np.empty((size[0], half), np.complex64)
            forward = _seconds(lambda: np.copyto(spectrum, np.fft.rfft2(image)[: size[0], :half]))
            readings.add(_WHAT, _TRANSFORMS, "s", forward + _seconds(lambda: np.fft.irfft2(spectrum, size)))

        in_turn(runs, {OURS: ours, _TRANSFORMS: transforms})
    return readings.all()


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
