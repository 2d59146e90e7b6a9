"""Check of the gain reference for EER movies before mounting."""

import os
from collections.abc import Iterator
from pathlib import Path

from cryofs.config.settings import Settings
from cryofs.errors import CryofsError, GainError
from cryofs.formats import eer
from cryofs.kernels.orientation import orientation_of
from cryofs.movies import registry
from cryofs.movies.eer_gain import check_fit
from cryofs.movies.eer_rendering import rendering_of
from cryofs.storage.byte_source import LocalFile

# Number of names to search for an EER file; without one among them, mounting continues unchecked.
_MOST_NAMES = 20_000


def check_gain(archive: Path, settings: Settings) -> list[str]:
    """Return lines that describe how the gain reference applies to the first EER file of an archive.

    Raises
    ------
    GainError
        The reference cannot be read, or does not match the detector size of that file.
    """
    rendering = rendering_of(settings)
    orientation = orientation_of(settings.gain_orientation)
    if rendering.gain is None or not rendering.gain.is_file():
        # a later step reports a missing file
        return []
    for path in _eer_files(archive):
        try:
            with LocalFile.open(path) as source:
                index = eer.read_index(source)
        except (CryofsError, OSError):
            continue
        shape = index.ny * rendering.upsampling, index.nx * rendering.upsampling
        try:
            return check_fit(rendering.gain, rendering.gain_convention, shape, orientation)
        except GainError as error:
            raise GainError(f"{error} ({path.relative_to(archive)} has {index.ny} x {index.nx} pixels)") from error
    return []


def _eer_files(archive: Path) -> Iterator[Path]:
    seen = 0
    for folder, folders, names in os.walk(archive):
        folders.sort()
        seen += len(names)
        if seen > _MOST_NAMES:
            return
        yield from (Path(folder, name) for name in sorted(names) if registry.rendered_name(name) is not None)
