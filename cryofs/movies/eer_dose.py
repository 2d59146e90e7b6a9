"""Dose of EER files whose metadata lack it, estimated from the electrons in some of their frames."""

from dataclasses import replace

import numpy as np

from cryofs.formats import eer
from cryofs.formats.eer import EerIndex
from cryofs.movies.eer_rendering import EerFacts, Rendering, facts_of
from cryofs.storage.byte_source import LocalFile

# About 7 MB of a Falcon 4 file, so that listing many files stays fast.
_COUNTED_FRAMES = 16


def facts_for(source: LocalFile, index: EerIndex, rendering: Rendering) -> EerFacts:
    """Return the metadata of a file; count its electrons if the grouping depends on a dose that the metadata lack."""
    facts = facts_of(index)
    if rendering.dose_per_fraction is None or rendering.dose is not None or facts.total_dose is not None:
        return facts
    return replace(facts, counted=counted_electrons(source, index))


def counted_electrons(source: LocalFile, index: EerIndex) -> float | None:
    """Return the mean number of electrons per pixel and frame, or None if no frame could be counted.

    Evenly spaced frames are counted. The electrons of the others are inferred from the sizes of their event streams,
    which accounts for a dose that changes during the exposure.
    """
    # a late import, because only this function needs the compiled code
    from cryofs.movies.eer_overflow import find_code, sum_frames

    intact = np.flatnonzero(index.intact)
    places = np.linspace(0, len(intact) - 1, min(len(intact), _COUNTED_FRAMES)).round().astype(np.int64)
    frames = intact[places]
    streams = eer.read_streams(source, index, frames.tolist())
    events = sum_frames(streams, index, find_code(source, index), 1).events
    sizes, whole = index.frame_bytes, events >= 0
    counted, read = int(events[whole].sum()), int(sizes[frames[whole]].sum())
    if not counted:
        return None
    return counted / read * float(sizes[intact].mean()) / (index.ny * index.nx)
