"""The check of a gain reference of EER movies before an archive is mounted."""

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

# Names of an archive that are looked at; where these include no EER file, mounting does not wait for more.
_MOST_NAMES = 20_000


def check_gain(archive: Path, settings: Settings) -> list[str]:
    """Return lines about the use of the gain reference for the first EER file of an archive.

    Raises
    ------
    GainError
        The reference cannot be read, or does not fit the detector of that file.
    """
    rendering = rendering_of(settings)
    orientation = orientation_of(settings.gain_orientation)
    if rendering.gain is None or not rendering.gain.is_file():
        # the error of a missing file comes later
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
