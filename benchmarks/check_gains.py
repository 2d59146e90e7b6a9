"""Check simulated gain references of full size in all eight orientations, and references of other data.

`python -m benchmarks.check_gains --first 0 --end 100` takes 20 minutes on one core. For each reference it prints a JSON
line: the camera, the dose in electrons per pixel and frame, the number of orientations that were found (of eight), the
lowest significance of the correct orientation, the highest of an incorrect one, and the highest of a reference from
other data.
"""

import argparse
import json
import time

import numpy as np

from benchmarks.simulate_counts import FULL_SHAPES, Camera, make_gain, sum_of_frames
from cryofs.gain.orientation_fit import best_fit, rank
from cryofs.kernels.orientation import ORIENTATIONS

FRAMES = 20
_LOWEST_DOSE, _HIGHEST_DOSE = 0.02, 2.0
_GAINS = 100


def check(number: int) -> dict[str, object]:
    """Return the figures of the reference with this number."""
    rng = np.random.default_rng(number)
    cameras: list[Camera] = list(FULL_SHAPES)
    camera = cameras[number % len(cameras)]
    dose = _LOWEST_DOSE * (_HIGHEST_DOSE / _LOWEST_DOSE) ** (number % _GAINS / (_GAINS - 1))
    gain = make_gain(rng, FULL_SHAPES[camera])
    counts = sum_of_frames(rng, gain, dose, FRAMES, camera)
    right, lowest, wrong, seconds = 0, np.inf, 0.0, 0.0
    for orientation in ORIENTATIONS:
        stored = np.ascontiguousarray(orientation.turned(gain))
        started = time.process_time()
        fits = rank(counts, stored)
        seconds += time.process_time() - started
        best = best_fit(fits)
        if best is not None and np.array_equal(best.orientation.turned(stored), gain):
            right += 1
            lowest = min(lowest, abs(best.significance))
        wrong = max(wrong, *(abs(fit.significance) for fit in fits[1:]))
    other = abs(rank(counts, make_gain(rng, FULL_SHAPES[camera]))[0].significance)
    return {
        "number": number,
        "camera": camera,
        "dose": round(dose, 4),
        "right": right,
        "lowest": round(float(lowest), 1),
        "wrong": round(wrong, 1),
        "other": round(other, 1),
        "seconds": round(seconds / len(ORIENTATIONS), 2),
    }


def main() -> None:
    """Print the figures of a range of references."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--end", type=int, default=_GAINS)
    arguments = parser.parse_args()
    for number in range(arguments.first, arguments.end):
        print(json.dumps(check(number)), flush=True)


if __name__ == "__main__":
    main()
