"""Write the files of `cryofs estimate-gain`: gain references, reliability maps, and lists of movies.

The files of one estimate share the stem of the reference. It is `gain-reference` for the first estimate, and
`gain-reference-` with the start of the SHA-256 for the others, whose names therefore change with their contents.
"""

from pathlib import Path

import numpy as np

from cryofs.errors import CryofsError
from cryofs.formats.archive_names import GAIN_REFERENCE, later_reference_name
from cryofs.formats.mrc import new_header
from cryofs.gain.estimation import Estimation
from cryofs.gain.estimation_state import save
from cryofs.kernels.from_counts import GainReference
from cryofs.movies.gain_library import bytes_sha256, load_reference, reference_file, relion_reliability_path
from cryofs.movies.mrc import MrcMovie
from cryofs.storage import changes
from cryofs.storage.atomic_file import write_file

RELIABILITY_NAME = "gain-reliability.mrc"


def reliability_path(reference: Path) -> Path:
    """Return the path of the reliability map of a gain reference."""
    return reference.with_name(reference.name.replace("reference", "reliability", 1))


def list_path(reference: Path) -> Path:
    """Return the path of the list of movies that have the gain of a reference."""
    return reference.with_suffix(".lst")


def files_of(reference: Path) -> list[Path]:
    """Return the paths of a reference and of its reliability maps."""
    return [reference, relion_reliability_path(reference), reliability_path(reference)]


def current_reference(estimation: Estimation, folder: Path) -> Path | None:
    """Return the path of the reference of an estimate, or None if the file is missing or not up to date."""
    for name in [GAIN_REFERENCE] if estimation.number == 1 else estimation.names:
        reference = folder / name
        try:
            # the map is written last, and each frame with counts changes it
            with MrcMovie(reliability_path(reference)) as movie:
                if not np.array_equal(movie.frame(0), estimation.estimate.reliability):
                    continue
            load_reference(reference)
            if relion_reliability_path(reference).is_file():
                return reference
        except (CryofsError, OSError):
            continue
    return None


def write_reference(estimation: Estimation, folder: Path, reference: GainReference) -> Path:
    """Write the reference and the reliability maps of an estimate, and remove the files that they replace.

    Returns
    -------
    Path
        The path of the reference.
    """
    data = reference_file(reference, estimation.pixel_size)
    path = folder / GAIN_REFERENCE
    stale: list[str] = []
    if estimation.number > 1:
        path = folder / later_reference_name(bytes_sha256(data))
        stale = [name for name in estimation.names if name != path.name]
        # saved before the file is written, so that a later run removes the file even if this run is killed
        estimation.names = [*stale, path.name]
        save(estimation, folder)
    write_file(path, data)
    ny, nx = estimation.estimate.gain.shape
    relion = estimation.estimate.relion_reliability()
    header = new_header((1, ny, nx), 1, estimation.pixel_size, "cryofs gain reliability for RELION's converter")
    write_file(relion_reliability_path(path), header + relion.astype("<i2").tobytes())
    header = new_header(
        (1, ny, nx), 2, estimation.pixel_size, "cryofs gain reliability: agreeing values less mismatches"
    )
    write_file(reliability_path(path), header + estimation.estimate.reliability.astype("<f4").tobytes())
    for name in stale:
        for old in [*files_of(folder / name), list_path(folder / name)]:
            changes.disk.remove(old, missing_ok=True)
    return path


def write_list(estimation: Estimation, reference: Path) -> Path:
    """Write the list of the movies of an estimate as a STAR file of RELION, and return its path."""
    path = list_path(reference)
    write_file(path, "".join(f"{name}\n" for name in sorted(estimation.frames_done)).encode("utf-8", "surrogateescape"))
    return path
