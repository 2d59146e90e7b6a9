"""Facts about an EER file for `cryofs info`: frames, dose and recommended groupings."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.execution.executor import Report, results
from cryofs.execution.threads import Threads
from cryofs.formats import eer
from cryofs.formats.eer import EerIndex, EventCode
from cryofs.movies import eer_dose
from cryofs.movies.eer_acquisition import acquisition_of
from cryofs.movies.eer_overflow import find_code, sum_frames
from cryofs.movies.eer_rendering import Rendering, runs_of
from cryofs.storage.byte_source import LocalFile

# Electrons per square angstrom that RELION's guide to movie compression recommends for a fraction.
_FRACTION_DOSE = (0.5, 1.25)
_FRAMES_AT_ONCE = 24


def describe_eer(path: Path, jobs: int, rendering: Rendering) -> dict[str, Any]:
    """Return facts about an EER file by name; count the events of all frames.

    Parameters
    ----------
    rendering : Rendering
        Options of the fractions; its pixel size and dose override those of the metadata.

    Raises
    ------
    FormatError
        The file is not a valid EER file, or the grouping depends on an unknown dose.
    """
    with LocalFile.open(path) as file:
        size = file.size
        index = eer.read_index(file)
        code = find_code(file, index)
        counted = _count_events(file, index, code, jobs)
        facts = eer_dose.facts_for(file, index, rendering)
    fractions = facts.fractions(rendering, str(path))
    whole = counted[counted >= 0]
    electrons = float(whole.mean()) / (index.ny * index.nx) if len(whole) else None
    frame_dose, source = replace(facts, counted=electrons).frame_dose(rendering) or (None, None)
    acquisition = acquisition_of(index)
    dose = {
        "pixel_size": rendering.pixel_size or facts.pixel_size,
        "dose_per_frame": frame_dose,
        "total_dose": frame_dose * index.frames if frame_dose else None,
    }
    return {
        "format": "eer",
        "shape": [index.frames, index.ny, index.nx],
        "dtype": "uint8",
        "mode": None,
        "overflow_bits": code.long_bits,
        "compression": f"events of {code.run_bits} + {code.x_bits} + {code.y_bits} bits",
        "stored_bytes": size,
        "original": {"name": path.name, "bytes": size, "sha256": None},
        "ratio": 1.0,
        "gain": index.metadata.get("eerGainReference"),
        "exceptions": 0,
        "frames": index.frames,
        "grouping": facts.grouping(rendering, str(path)),
        "fractions": len(fractions),
        "fraction_frames": runs_of(fractions),
        "upsampling": rendering.upsampling,
        "crop": rendering.crop,
        "scale": facts.scale(rendering, str(path)),
        "dropped_frames": index.frames - sum(map(len, fractions)),
        "damaged_frames": np.flatnonzero(counted < 0).tolist(),
        "electrons_per_pixel_per_frame": electrons,
        **dose,
        "dose_source": source,
        "groupings": _groupings(frame_dose),
        **acquisition,
        "unknown": [name for name, value in (dose | acquisition).items() if value is None],
        "metadata": index.metadata,
    }


def _count_events(file: LocalFile, index: EerIndex, code: EventCode, jobs: int) -> NDArray[np.int64]:
    """Return the number of events in each frame (int64, shape (frames,)), -1 for damaged frames."""
    counted = np.full(index.frames, -1, np.int64)

    def count(first: int, _: Report) -> None:
        frames = np.flatnonzero(index.intact[first : first + _FRAMES_AT_ONCE]) + first
        streams = eer.read_streams(file, index, frames.tolist())
        counted[frames] = sum_frames(streams, index, code, 1).events

    for _ in results(Threads(jobs).run(count, range(0, index.frames, _FRAMES_AT_ONCE))):
        pass
    return counted


def _groupings(frame_dose: float | None) -> list[int] | None:
    """Return the smallest and largest recommended grouping, or None if the dose per frame is unknown."""
    if frame_dose is None:
        return None
    # a tolerance, because doses are rounded in the metadata
    least = max(1, math.ceil(round(_FRACTION_DOSE[0] / frame_dose, 6)))
    most = math.floor(round(_FRACTION_DOSE[1] / frame_dose, 6))
    return [least, most] if least <= most else None
